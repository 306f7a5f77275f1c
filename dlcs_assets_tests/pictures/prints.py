"""What a picture's fingerprint is to be, worked out from its pixels by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.reading import fingerprint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 160, 96  # whole multiples of a fingerprint's areas


def scene(seed: int = 1) -> Pixels:
    """Return RGB pixels that look different turned, mirrored, in other colours and in grey."""
    import numpy as np

    dice = np.random.default_rng(seed)
    areas = dice.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    areas[:3, :4] = (250, 20, 30)
    areas[-2:, :, 2] = 240
    return areas.repeat(HEIGHT // 12, axis=0).repeat(WIDTH // 20, axis=1)


def grey_scene(seed: int = 1) -> Pixels:
    """Return a scene of one channel."""
    return scene(seed)[..., :1]


def levels(pixels: Any) -> Any:
    """Return the mean colours of 16 x 16 equal areas of pixels, (rows, columns, 3) or one channel."""
    import numpy as np

    pixels = np.asarray(pixels, np.float64)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
    return pixels.reshape(16, rows, 16, columns, 3).mean(axis=(1, 3))


def levels_of(data: bytes, folder: Path) -> Any:
    """Return the levels of a file's fingerprint."""
    return levels_in(look_of(data, folder))


def levels_in(look: Fingerprint) -> Any:
    """Return the levels of a fingerprint as (rows, columns, 3)."""
    import numpy as np

    return np.frombuffer(look.levels, np.uint8).reshape(look.rows, look.columns, 3).astype(np.float64)


def look_of(data: bytes, folder: Path) -> Fingerprint:
    """Return a file's fingerprint."""
    path = folder / "picture"
    path.write_bytes(data)
    return fingerprint(path)


def difference(one: Any, other: Any) -> float:
    """Return the mean difference of levels."""
    import numpy as np

    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())
