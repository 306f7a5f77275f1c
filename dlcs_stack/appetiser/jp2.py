"""The structure of JPEG 2000 files: what is a JP2, its size and levels, and whether all of it is there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dlcs_stack.appetiser.errors import ConversionError

_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SOC, _SIZ, _COD, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF90, 0xFFD9


@dataclass(frozen=True)
class Codestream:
    """The main header of a JPEG 2000 codestream (ISO 15444-1, Annex A). Lengths are pixels of the reference grid."""

    width: int
    height: int
    tiles: int
    levels: int
    at_origin: bool


@dataclass(frozen=True)
class Jp2:
    """A JPEG 2000 file; `icc` is its restricted or full ICC profile, if it carries one."""

    codestream: Codestream
    icc: bytes | None


def is_jp2(path: Path) -> bool:
    """Return whether a file is a JP2 by its first bytes: the signature, and `jp2 ` as brand or compatible brand.

    A JPX without that, or a codestream without a file format around it, is not.
    """
    with path.open("rb") as file:
        if file.read(12) != _SIGNATURE:
            return False
        length, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        body = file.read(min(length, 4096) - 8) if kind == b"ftyp" and length > 8 else b""  # noqa: PLR2004 (a box's header)
    brands = [body[:4], *(body[at : at + 4] for at in range(8, len(body), 4))]
    return b"jp2 " in brands


def read_jp2(path: Path) -> Jp2:
    """Read a JP2's headers and follow its tile-parts to the end, without decoding; raise `ConversionError`."""
    try:
        with path.open("rb") as file:
            return _read_boxes(file, path.stat().st_size)
    except (struct.error, ValueError) as error:
        raise ConversionError(f"The source is a damaged JP2: {error}.") from error


def _read_boxes(file: BinaryIO, file_size: int) -> Jp2:
    icc = None
    for kind, start, end in _boxes(file, 0, file_size):
        if kind == b"jp2h":
            for inner, inner_start, inner_end in _boxes(file, start, end):
                if inner == b"colr" and icc is None:
                    icc = _icc_of(_read_at(file, inner_start, inner_end - inner_start))
        elif kind == b"jp2c":
            codestream = _read_main_header(file, start)
            _follow_tile_parts(file, min(end, file_size), codestream.tiles)
            return Jp2(codestream, icc)
    raise ValueError("it holds no codestream")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start < end:
        length, kind = struct.unpack(">I4s", _read_at(file, start, 8))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", _read_at(file, start + 8, 8))
            header = 16
        elif length == 0:
            length = end - start
        if length < header:
            raise ValueError("a box has no room for its own header")
        # A codestream that ends early is recognised by its tile-parts, which gives the better reason.
        yield kind, start + header, start + length
        start += length


def _icc_of(colour: bytes) -> bytes | None:
    method = colour[0] if colour else 0
    return colour[3:] if method in (2, 3) else None  # restricted ICC (JP2), any ICC (JPX)


def _read_main_header(file: BinaryIO, at: int) -> Codestream:
    """Read up to the first tile-part, before which the file is left."""
    (marker,) = struct.unpack(">H", _read_at(file, at, 2))
    if marker != _SOC:
        raise ValueError("its codestream does not begin as one")
    at += 2
    size: tuple[int, ...] | None = None
    levels: int | None = None
    while True:
        marker, length = struct.unpack(">HH", _read_at(file, at, 4))
        if marker == _SOT:
            break
        if marker < 0xFF00 or length < 2:  # noqa: PLR2004 (where markers begin; a segment counts its length field)
            raise ValueError("its main header is not a chain of marker segments")
        segment = _read_at(file, at + 4, length - 2)
        if marker == _SIZ:
            size = struct.unpack(">HIIIIIIII", segment[:34])
        elif marker == _COD:
            levels = segment[5]
        at += 2 + length
    file.seek(at)
    if size is None or levels is None:
        raise ValueError("its main header lacks the image's size or coding style")
    _, right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = size
    if right <= left or bottom <= top or not tile_width or not tile_height:
        raise ValueError("its main header gives no area")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    return Codestream(right - left, bottom - top, tiles, levels, at_origin=not (left or top))


def _follow_tile_parts(file: BinaryIO, end: int, tiles: int) -> None:
    at = file.tell()
    seen: set[int] = set()
    while at + 2 <= end:
        (marker,) = struct.unpack(">H", _read_at(file, at, 2))
        if marker == _EOC:
            break
        if marker != _SOT:
            raise ValueError("its tile-parts do not follow one another")
        _, tile, length = struct.unpack(">HHI", _read_at(file, at + 2, 8))
        seen.add(tile)
        if length == 0:  # up to the end of the codestream
            break
        if length < 14 or at + length > end:  # noqa: PLR2004 (SOT and SOD alone)
            raise ValueError("it ends in the middle of a tile; the file is truncated")
        at += length
    if len(seen) < tiles:
        raise ValueError(f"only {len(seen)} of its {tiles} tiles are there; the file is truncated")


def _read_at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends in the middle of a header; the file is truncated")
    return data
