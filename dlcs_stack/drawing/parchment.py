"""The ground of a page: parchment with its stains and shading, on the dark cloth on which it was photographed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

CLOTH = (38, 35, 33)
TONES = ((228, 211, 176), (222, 205, 172), (233, 219, 189), (216, 196, 158))
REDUCTION = 4  # everything here is soft: it is painted at a quarter of the edge and enlarged
GRAIN_TILE = 512  # pixels; the grain repeats, which cannot be seen


def parchment(width: int, height: int, *, recto: bool, random: Random) -> Image:
    """Return an RGB image of an empty page; the gutter is on the left of a recto, on the right of a verso."""
    import numpy as np
    from PIL import Image

    across, down = max(8, width // REDUCTION), max(8, height // REDUCTION)
    clouds = _noise(across, down, (2, 5), random)
    mottle = _noise(across, down, (160, 300), random)
    x = np.linspace(0, 1, across, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, down, dtype=np.float32)[:, None]
    from_gutter = x if recto else 1 - x

    light = 1 + 0.035 * clouds + 0.012 * mottle
    light *= 1 - 0.45 * np.exp(-from_gutter / 0.035)  # the page sinks into the binding
    edge = np.minimum(np.minimum(y, 1 - y), 1 - from_gutter)
    light *= 1 - 0.16 * np.exp(-edge / 0.03) * (1 + 0.6 * clouds)  # thumbed edges
    stain = np.zeros_like(light)
    for _ in range(random.randint(1, 4)):
        cx, cy, radius = random.random(), random.random(), random.uniform(0.03, 0.12)
        distance = np.hypot((x - cx), (y - cy) * down / across) / radius + 0.35 * mottle
        stain += random.uniform(0.3, 1.0) * (np.exp(-((distance - 1) ** 2) * 18) + 0.35 * (distance < 1))
    tone = np.asarray(random.choice(TONES), np.float32)
    warmth = np.asarray((0.0, 0.05, 0.13), np.float32)
    rgb = tone * light[..., None] * (1 - warmth * (stain + 0.5 * np.clip(clouds, 0, None))[..., None])
    rgb = np.where(_outline(across, down, recto=recto, random=random)[..., None], rgb, np.asarray(CLOTH, np.float32))
    image = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
    return image.resize((width, height), Image.Resampling.BICUBIC)


def fading(width: int, height: int, random: Random) -> Image:
    """Return an L image, light where the pen was full and darker where the ink was running out."""
    import numpy as np
    from PIL import Image as Images

    strength = 232 + 14 * _noise(max(8, width // 12), max(8, height // 12), (20, 60), random)
    soft = Images.fromarray(np.clip(strength, 120, 255).astype(np.uint8))
    return soft.resize((width, height), Images.Resampling.BILINEAR)


def add_grain(image: Image, random: Random) -> Image:
    """Return the image with the fine grain of skin and sensor, added at its own resolution."""
    import numpy as np
    from PIL import Image as Images

    generator = np.random.default_rng(random.getrandbits(32))
    tile = generator.normal(0, 3.2, (GRAIN_TILE, GRAIN_TILE, 1)).round().astype(np.int16)
    pixels = np.array(image)
    for top in range(0, pixels.shape[0], GRAIN_TILE):
        for left in range(0, pixels.shape[1], GRAIN_TILE):
            part = pixels[top : top + GRAIN_TILE, left : left + GRAIN_TILE]
            part[:] = np.clip(part + tile[: part.shape[0], : part.shape[1]], 0, 255).astype(np.uint8)
    return Images.fromarray(pixels)


def _noise(width: int, height: int, cells: tuple[int, ...], random: Random) -> Any:
    """Return an array (height, width) of soft noise about 0, one octave for each number of cells along the height."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(random.getrandbits(32))
    total = np.zeros((height, width), np.float32)
    for octave, count in enumerate(cells):
        across = max(2, count * width // height)
        small = generator.normal(0, 1, (count, across)).astype(np.float32)
        total += np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)) / (octave + 1)
    return total


def _outline(width: int, height: int, *, recto: bool, random: Random) -> Any:
    """Return a mask of the leaf: cloth shows on three sides, and skin was never quite straight."""
    import numpy as np

    margin = 0.014 * height
    waves = [(random.uniform(0.3, 1.6), random.uniform(0, 6.3), random.uniform(0.03, 0.1)) for _ in range(3)]

    def wave(length: int, phase: float) -> Any:
        along = np.linspace(0, 6.3, length, dtype=np.float32)
        return margin * (1 + sum(size * np.sin(rate * along + shift + phase) for rate, shift, size in waves))

    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    side = wave(height, 1.0)[:, None]
    inner = x < width - side if recto else x > side
    return inner & (y > wave(width, 2.0)[None, :]) & (y < height - wave(width, 4.0)[None, :])
