"""Pictures for tests: drawn, so that each looks different, and encoded as real files."""

from __future__ import annotations

import random
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


def drawing(width: int, height: int, *, seed: int = 1, mode: str = "RGB") -> Image:
    """Draw a page of coloured patches; another seed is another page."""
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    image = PillowImage.new("RGB", (width, height), (236, 224, 196))
    draw = ImageDraw.Draw(image)
    dice = random.Random(seed)
    for _ in range(40):
        x, y = dice.randrange(width), dice.randrange(height)
        colour = (dice.randrange(160), dice.randrange(160), dice.randrange(160))
        draw.rectangle((x, y, x + max(1, width // 6), y + max(1, height // 9)), fill=colour)
    return image.convert(mode)


def encoded(image: Image, image_format: str = "JPEG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(width: int, height: int, **options: Any) -> bytes:
    return encoded(drawing(width, height), "JPEG", **options)
