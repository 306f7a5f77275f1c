"""A layout: one way in which a picture can be stored, as a file, with what it has to look like."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np  # noqa: TID253 (made of pixels)

from dlcs_assets_tests.pictures.prints import levels

Array = np.ndarray[Any, np.dtype[Any]]

EXACT, LOSSY = 3.0, 6.0  # mean differences of levels that are right
ORIENTATIONS = range(1, 9)


@dataclass(frozen=True)
class Layout:
    """A file, and its picture. `subject`, `item` and `variant` say what it is, from the general to the particular.

    `size` is width and height, `levels` the means of 16 x 16 areas, both of the upright picture.
    """

    subject: str
    item: str
    variant: str
    data: bytes
    size: tuple[int, int]
    levels: Array
    tolerance: float = EXACT


def layout(
    subject: str, item: str, variant: str, data: bytes, pixels: Array, *, tolerance: float = EXACT, orientation: int = 1
) -> Layout:
    """Return a layout whose stored pixels, 0 to 255, are to be turned by an orientation."""
    shown = UPRIGHT[orientation](np.asarray(pixels, np.float64))
    return Layout(subject, item, variant, data, (shown.shape[1], shown.shape[0]), levels(shown), tolerance)


# TIFF 6.0: where the first row and the first column of what is stored are to be shown.
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda stored: stored,  # top, left
    2: lambda stored: stored[:, ::-1],  # top, right
    3: lambda stored: stored[::-1, ::-1],  # bottom, right
    4: lambda stored: stored[::-1],  # bottom, left
    5: lambda stored: stored.transpose(1, 0, 2),  # left, top
    6: lambda stored: np.rot90(stored, -1),  # right, top
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda stored: np.rot90(stored, 1),  # left, bottom
}


def turning(orientation: int) -> str:
    """Return the name of what an orientation asks for."""
    if orientation == 1:
        return "upright"
    return "mirrored (2, 4, 5, 7)" if orientation in (2, 4, 5, 7) else "turned (3, 6, 8)"


def quantized(pixels: Array, bits: int) -> Array:
    """Return levels as samples of so many bits."""
    samples: Array = np.rint(pixels.astype(np.float64) / 255 * (2**bits - 1)).astype(np.uint32)
    return samples


def shown(samples: Array, bits: int) -> Array:
    """Return samples of so many bits as levels."""
    pixels: Array = samples.astype(np.float64) * (255 / (2**bits - 1))
    return pixels


def opacity(pixels: Array) -> Array:
    """Return an opacity for pixels: none, half and whole."""
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    alpha[: len(alpha) // 2] = 51
    alpha[:, :20] = 0
    return alpha


def on_white(pixels: Array, alpha: Array) -> Array:
    """Lay levels on white."""
    share = alpha / 255
    laid: Array = pixels * share + 255 * (1 - share)
    return laid


def without_ink(inks: Array) -> Array:
    """Return what inks without a profile leave of the light."""
    light = 255.0 - inks
    left: Array = light[..., :3] * light[..., 3:] / 255
    return left


def ycbcr(pixels: Array) -> Array:
    """Return luma and chroma of RGB, as JPEG has them."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    parts = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=-1)
    samples: Array = np.clip(np.rint(parts), 0, 255).astype(np.uint8)
    return samples


def exif(orientation: int) -> bytes:
    """Return EXIF, as a TIFF, with nothing but an orientation."""
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)
