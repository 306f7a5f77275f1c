"""Looking at stored pictures: their format, their size, and whether they show what they should."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

ALIKE = 12  # mean difference of levels, of 255; two different drawings differ by 30 and more


def decoded(data: bytes) -> Image:
    from PIL import Image as PillowImage

    with PillowImage.open(BytesIO(data)) as image:
        image.load()
        return image


def difference(one: Image, other: Image) -> float:
    """Return by how many levels two pictures differ in the mean, seen small."""
    from PIL import ImageChops, ImageStat

    small = [each.convert("RGB").resize((32, 32)) for each in (one, other)]
    return sum(ImageStat.Stat(ImageChops.difference(*small)).mean) / 3


def shows(data: bytes, picture: Image) -> bool:
    return difference(decoded(data), picture) < ALIKE
