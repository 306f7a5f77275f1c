"""How a picture is to be turned, as EXIF or XMP in it state."""

from __future__ import annotations

import re
from typing import Final

_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>\s*)([1-8])""")
_ORIENTATION_TAG: Final = 0x0112
_ORIENTATIONS: Final = range(1, 9)
TRANSPOSED_ORIENTATIONS: Final = frozenset({5, 6, 7, 8})


def upright_size(width: int, height: int, orientation: int | None) -> tuple[int, int]:
    """Return width and height after the turning that an orientation states, or before it if they are upright."""
    return (height, width) if orientation in TRANSPOSED_ORIENTATIONS else (width, height)


def valid_orientation(value: object) -> int | None:
    """Return an orientation of 1 to 8; None for anything else."""
    return value if isinstance(value, int) and value in _ORIENTATIONS else None


def xmp_orientation(packet: bytes) -> int | None:
    """Return the orientation that an XMP packet states; None if there is none."""
    found = _XMP_ORIENTATION.search(packet)
    return int(found[1]) if found else None


def exif_orientation(data: bytes | None) -> int | None:
    """Return the orientation of a block of EXIF; None if it states none, or is broken: that turns no picture."""
    from PIL.Image import Exif

    if not data:
        return None
    exif = Exif()
    try:
        exif.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
        return valid_orientation(exif.get(_ORIENTATION_TAG))
    except Exception:  # noqa: BLE001 (broken metadata raises whatever the parser stumbles over)
        return None
