"""What remains of a picture in a small, blurred thumbnail. It is made without the whole picture in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dlcs_assets.pictures.orientation import TRANSPOSED_ORIENTATIONS, upright_size

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

EDGE: Final = 16
# Profiles and transparency are applied on a grid of at least that, where averages still differ little from pixels.
_FINE: Final = 128


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The mean colours of a picture's areas: upright, in sRGB, what is transparent laid on white.

    `levels` has `rows` x `columns` x 3 bytes, from the top left. A picture of fewer pixels than that has one each.
    `width` and `height` are the picture's own, upright. `is_transparent`: some of it can be seen through.
    """

    width: int
    height: int
    columns: int
    rows: int
    levels: bytes
    is_transparent: bool = False


class Shrinker:
    """Collects the pixels of a picture part by part, in any order, and keeps the means of small blocks of them."""

    def __init__(self, width: int, height: int, channels: int) -> None:
        import numpy as np

        self._width, self._height = width, height
        self._step_x, self._step_y = max(1, width // _FINE), max(1, height // _FINE)
        columns, rows = -(-width // self._step_x), -(-height // self._step_y)
        self._sums = np.zeros((rows, columns, channels), np.float64)
        self._seen = 0

    def add(self, top: int, left: int, pixels: Array, channel: int | None = None) -> None:
        """Add a part of the picture, (rows, columns, channels), or one channel of it; it must lie within."""
        import numpy as np

        rows = _starts(top, pixels.shape[0], self._step_y)
        columns = _starts(left, pixels.shape[1], self._step_x)
        kind = np.float64 if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2 else np.uint32  # noqa: PLR2004 (bytes)
        # Rows first: they lie in memory one behind the other, and are added up several pixels at a time.
        ends = [*rows[1:], pixels.shape[0]]
        lines = np.stack([pixels[start:end].sum(axis=0, dtype=kind) for start, end in zip(rows, ends, strict=True)])
        sums = np.add.reduceat(lines, columns, axis=1, dtype=np.float64)
        row, column = top // self._step_y, left // self._step_x
        target = self._sums[row : row + len(rows), column : column + len(columns)]
        if channel is None:
            target += sums
            self._seen += pixels.shape[0] * pixels.shape[1] * self._sums.shape[2]
        else:
            target[..., channel] += sums[..., 0]
            self._seen += pixels.shape[0] * pixels.shape[1]

    def means(self) -> Array:
        """Return the blocks' means. Raises ValueError if parts of the picture were not added."""
        import numpy as np

        if self._seen != self._width * self._height * self._sums.shape[2]:
            raise ValueError("parts of it are missing")
        heights, widths = np.diff(self.row_edges), np.diff(self.column_edges)
        return np.asarray(self._sums / (heights[:, None, None] * widths[None, :, None]))

    @property
    def column_edges(self) -> Array:
        """Where the blocks begin and the last one ends, in pixels."""
        return _edges(self._width, self._step_x)

    @property
    def row_edges(self) -> Array:
        """Where the blocks begin and the last one ends, in pixels."""
        return _edges(self._height, self._step_y)


def _starts(start: int, length: int, step: int) -> Array:
    """Return where, within a part that begins at `start`, a new block begins."""
    import numpy as np

    first = -start % step
    starts = np.arange(first, length, step)
    return starts if first == 0 else np.concatenate(([0], starts))


def _edges(length: int, step: int) -> Array:
    import numpy as np

    return np.append(np.arange(0, length, step), length).astype(np.float64)


def fingerprint_of(
    grid: Array, column_edges: Array, row_edges: Array, *, orientation: int = 1, is_transparent: bool = False
) -> Fingerprint:
    """Reduce a grid of sRGB levels (rows, columns, 3), whose edges are at these pixels, and turn it upright."""
    import numpy as np

    rows, columns = min(EDGE, round(row_edges[-1])), min(EDGE, round(column_edges[-1]))
    small = turned(_averaged(grid, _overlaps(row_edges, rows), _overlaps(column_edges, columns)), orientation)
    levels = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    width, height = upright_size(round(column_edges[-1]), round(row_edges[-1]), orientation)
    return Fingerprint(width, height, levels.shape[1], levels.shape[0], levels.tobytes(), is_transparent)


def resized(levels: Array, columns: int, rows: int) -> Array:
    """Reduce the levels of a fingerprint (rows, columns, 3) further."""
    import numpy as np

    if levels.shape[:2] == (rows, columns):
        return levels
    row_edges, column_edges = (np.arange(edge + 1, dtype=np.float64) for edge in levels.shape[:2])
    return _averaged(levels, _overlaps(row_edges, rows), _overlaps(column_edges, columns))


def _averaged(grid: Array, down: Array, across: Array) -> Array:
    import numpy as np

    # One axis after the other: all at once would take a hundred times as long.
    narrow = np.tensordot(down, grid, axes=(1, 0))
    return np.asarray(np.tensordot(narrow, across, axes=(1, 1)).swapaxes(1, 2))


def _overlaps(edges: Array, count: int) -> Array:
    """Return of which shares of the lengths between `edges` each of `count` equal ones consists: rows that sum to 1."""
    import numpy as np

    targets = np.linspace(0, edges[-1], count + 1)
    begin = np.maximum(targets[:-1, None], edges[None, :-1])
    end = np.minimum(targets[1:, None], edges[None, 1:])
    return np.asarray(np.maximum(end - begin, 0) / np.diff(targets)[:, None])


def turned(levels: Array, orientation: int) -> Array:
    """Turn rows and columns upright as an orientation of EXIF, 1 to 8, says."""
    if orientation in TRANSPOSED_ORIENTATIONS:
        levels = levels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        levels = levels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        levels = levels[::-1]
    return levels


def on_white(colours: Array, alpha: Array, *, is_premultiplied: bool = False) -> Array:
    """Lay colours of 0 to 255 on white; `alpha` is 0 to 1."""
    alpha = alpha[..., None]
    return colours + 255.0 * (1 - alpha) if is_premultiplied else colours * alpha + 255.0 * (1 - alpha)


def without_ink(inks: Array) -> Array:
    """Return RGB levels of CMYK ones without a profile: the light that each ink leaves, times what black leaves."""
    return (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:4]) / 255.0
