"""ICC profiles written by hand, and what their colours are in sRGB by the definition of their colour space."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def adobe_rgb() -> bytes:
    """Return a matrix profile with Adobe RGB's primaries, adapted to D50, and its gamma of 563/256."""
    columns = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    tags = {name: _xyz(value) for name, value in columns.items()} | {b"wtpt": _xyz((0.9642, 1.0, 0.8249))}
    tags |= {name: _gamma(563 / 256) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", tags)


def adobe_rgb_in_srgb(pixels: Array) -> Array:
    """Return what levels of Adobe RGB are in sRGB."""
    import numpy as np

    linear = (pixels / 255) ** (563 / 256)
    to_xyz = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
    from_xyz = np.linalg.inv(
        np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    )
    return to_srgb(linear @ to_xyz.T @ from_xyz.T)


def grey_gamma(gamma: float) -> bytes:
    """Return a profile of greys with this gamma."""
    return _profile(b"GRAY", {b"wtpt": _xyz((0.9642, 1.0, 0.8249)), b"kTRC": _gamma(gamma)})


def to_srgb(linear: Array) -> Array:
    """Encode as IEC 61966-2-1 does."""
    import numpy as np

    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, 1) ** (1 / 2.4) - 0.055)
    levels: Array = np.clip(shown, 0, 1) * 255
    return levels


def _xyz(value: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(number * 65536)) for number in value)


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text + bytes(-len(text) % 4), b"cprt": b"text\0\0\0\0none\0\0\0\0", **tags}
    at, table, data = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, at + len(data), len(value))
        data += value
    size = at + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", round(0.9642 * 65536), 65536, round(0.8249 * 65536))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data
