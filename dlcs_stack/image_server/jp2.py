"""What Pillow does not report about a JPEG 2000 file: levels of resolution, ICC profile and orientation.

Boxes and markers as in ISO/IEC 15444-1, annexes A and I; only headers are read, no picture data.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_SOC, _SIZ, _COD, _COC, _SOT = b"\xff\x4f", b"\xff\x51", b"\xff\x52", b"\xff\x53", b"\xff\x90"
_RESTRICTED_ICC, _ANY_ICC = 2, 3
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")
_METADATA_LIMIT = 16 * 2**20
_WIDE_COMPONENTS = 257  # from this number of components on, COC names its component with two bytes


@dataclass(frozen=True)
class Jp2Header:
    """Size in pixels as the codestream has it; `levels` is how often its edges can be halved while decoding."""

    width: int
    height: int
    levels: int
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp_orientation: int = 1


def read_header(file: BinaryIO) -> Jp2Header:
    """Read the headers of a JP2 file or of a bare codestream. Raises `ValueError` where it is neither."""
    try:
        if file.read(2) == _SOC:
            return Jp2Header(*_codestream(file))
        file.seek(0)
        return _boxes(file)
    except (struct.error, IndexError) as error:
        raise ValueError("a JPEG 2000 header ends too early") from error


def _boxes(file: BinaryIO) -> Jp2Header:
    icc_profile = exif = size = None
    xmp_orientation = 1
    end = file.seek(0, 2)
    for kind, start, length in _each_box(file, 0, end):
        if kind == b"jp2h":
            icc_profile = _icc_profile(file, start, start + length)
        elif kind == b"uuid" and length <= _METADATA_LIMIT:
            file.seek(start)
            uuid, body = file.read(16), file.read(length - 16)
            if uuid == _EXIF_UUID:
                exif = body
            elif uuid == _XMP_UUID and (match := _XMP_ORIENTATION.search(body)):
                xmp_orientation = int(match[1])
        elif kind == b"jp2c" and size is None:
            file.seek(start)
            if file.read(2) != _SOC:
                break
            size = _codestream(file)
    if size is None:
        raise ValueError("a JP2 file without a codestream")
    return Jp2Header(*size, icc_profile=icc_profile, exif=exif, xmp_orientation=xmp_orientation)


def _each_box(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start of the contents and their length in bytes of each box between two positions."""
    while position + 8 <= end:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            header = 16
        elif length == 0:
            length = end - position
        if length < header:
            raise ValueError("a JP2 box that is shorter than its own header")
        yield kind, position + header, min(length, end - position) - header
        position += length


def _icc_profile(file: BinaryIO, start: int, end: int) -> bytes | None:
    for kind, box_start, length in _each_box(file, start, end):
        if kind == b"colr" and length <= _METADATA_LIMIT:
            file.seek(box_start)
            body = file.read(length)
            if body[0] in (_RESTRICTED_ICC, _ANY_ICC):
                return body[3:]
    return None


def _codestream(file: BinaryIO) -> tuple[int, int, int]:
    """Return width, height and levels from the main header, which stands right after SOC."""
    width = height = components = 0
    levels: list[int] = []
    while (marker := file.read(2)) != _SOT:
        (length,) = struct.unpack(">H", file.read(2))
        body = file.read(length - 2)
        if marker == _SIZ:
            x1, y1, x0, y0 = struct.unpack(">4I", body[2:18])
            width, height = x1 - x0, y1 - y0
            (components,) = struct.unpack(">H", body[34:36])
        elif marker == _COD:
            levels.append(body[5])
        elif marker == _COC:
            levels.append(body[3 if components < _WIDE_COMPONENTS else 4])
    if not levels or width <= 0 or height <= 0:
        raise ValueError("a JPEG 2000 codestream without SIZ or COD")
    return width, height, min(levels)
