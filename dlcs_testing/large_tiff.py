"""A TIFF as a scanner for maps writes it: large, LZW with predictor, in strips. Drawn without holding it in memory."""

from __future__ import annotations

from pathlib import Path

from dlcs_testing.raw_tiff import LONG, SHORT, RawPage, raw_tiff

_ROWS = 64
_PATTERNS = 8


def draw_large_tiff(path: Path, edge: int, orientation: int = 1) -> None:
    """Write an RGB picture of `edge` x `edge` pixels; its strips repeat after some."""
    import imagecodecs
    import numpy as np

    across, down = np.arange(edge)[None, :], np.arange(_ROWS)[:, None]
    noise = np.random.default_rng(1)
    patterns = []
    for number in range(_PATTERNS):
        shades = [across // 40 + down * number, across // 25 + down, (down * 3 + across) // 9]
        rows = (np.stack(shades, -1) % 256).astype(np.uint8) ^ noise.integers(0, 4, (_ROWS, edge, 3), dtype=np.uint8)
        differences = np.diff(rows, axis=1, prepend=np.zeros((_ROWS, 1, 3), np.uint8))
        patterns.append((bytes(imagecodecs.lzw_encode(differences.tobytes())), differences))
    whole, rest = divmod(edge, _ROWS)
    strips = [patterns[at % _PATTERNS][0] for at in range(whole)]
    if rest:
        strips.append(bytes(imagecodecs.lzw_encode(patterns[0][1][:rest].tobytes())))
    tags = {259: (SHORT, [5]), 317: (SHORT, [2]), 284: (SHORT, [1]), 278: (LONG, [_ROWS]), 274: (SHORT, [orientation])}
    path.write_bytes(raw_tiff(RawPage(edge, edge, [8] * 3, 2, strips, tags)))
