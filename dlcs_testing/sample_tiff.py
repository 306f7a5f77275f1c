"""TIFFs of any layout, from samples and without a library: no reader of them has made them.

What is compressed is compressed by what the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlcs_testing.raw_tiff import LONG, SHORT, RawPage, raw_tiff

if TYPE_CHECKING:
    import numpy.typing as npt

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8
ORIENTATION, EXTRA_SAMPLES, COLOUR_MAP, ICC_PROFILE, NEW_SUBFILE_TYPE = 274, 338, 320, 34675, 254


@dataclass(frozen=True)
class Page:
    """A page: samples of (rows, columns, channels), of unsigned integers or floats, and how they are written.

    `bits` of a sample, packed where they are no whole bytes. `tags` are more of them: number -> (type, values).
    Each strip or tile is compressed by `compress` as bytes, or by `encode` as samples, and `compression` is the number
    of that. With `differences`, each sample is stored as what it is more than that of the pixel to the left.
    """

    samples: npt.NDArray[Any]
    photometric: int = RGB
    bits: int = 8
    planar: bool = False
    rows_per_strip: int | None = None
    tile: int | None = None
    tags: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict)
    compression: int = 1
    compress: Callable[[bytes], bytes] = bytes
    encode: Callable[[npt.NDArray[Any]], bytes] | None = None
    differences: bool = False


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """Return a file of these pages."""
    return raw_tiff(*(_raw(page, order) for page in pages), order=order, big=big)


def unconvertible() -> bytes:
    """Return a whole picture that the embedded Appetiser does not convert: it has 10 bits a sample."""
    import numpy as np

    return tiff(Page(np.arange(120 * 90, dtype=np.uint16).reshape(90, 120, 1) % 1024, MIN_IS_BLACK, 10))


def _raw(page: Page, order: str) -> RawPage:
    rows, columns, channels = page.samples.shape
    tags: dict[int, tuple[int, Sequence[int]]] = {
        284: (SHORT, [2 if page.planar else 1]),
        339: (SHORT, [{"f": 3, "i": 2}.get(page.samples.dtype.kind, 1)] * channels),
        259: (SHORT, [page.compression]),
    }
    if page.differences:
        tags[317] = (SHORT, [2])
    if page.rows_per_strip:
        tags[278] = (LONG, [page.rows_per_strip])
    parts = _parts(page)
    if page.encode:
        strips = [page.encode(part) for part in parts]
    else:
        strips = [page.compress(_packed(part, page, order)) for part in parts]
    return RawPage(columns, rows, [page.bits] * channels, page.photometric, strips, tags | dict(page.tags), page.tile)


def _parts(page: Page) -> list[npt.NDArray[Any]]:
    import numpy as np

    planes = [page.samples[..., [at]] for at in range(page.samples.shape[2])] if page.planar else [page.samples]
    rows, columns = page.samples.shape[:2]
    parts = []
    for plane in planes:
        if page.tile:
            edge = page.tile
            full = np.pad(plane, ((0, -rows % edge), (0, -columns % edge), (0, 0)), mode="edge")
            parts += [
                full[top : top + edge, left : left + edge]
                for top in range(0, rows, edge)
                for left in range(0, columns, edge)
            ]
        else:
            step = page.rows_per_strip or rows
            parts += [plane[top : top + step] for top in range(0, rows, step)]
    return parts


def _packed(part: npt.NDArray[Any], page: Page, order: str) -> bytes:
    import numpy as np

    if page.differences:
        part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1)
    if page.samples.dtype.kind == "f":
        return part.astype(f"{order}f{page.bits // 8}").tobytes()
    if page.bits in {8, 16, 32}:
        return part.astype(f"{order}u{page.bits // 8}").tobytes()
    rows = part.reshape(part.shape[0], -1).astype(np.uint32)
    shifts = np.arange(page.bits - 1, -1, -1, dtype=np.uint32)
    bits: npt.NDArray[np.uint8] = ((rows[..., None] >> shifts) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(part.shape[0], -1), axis=1).tobytes()
