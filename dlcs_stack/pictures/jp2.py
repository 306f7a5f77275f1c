"""What the boxes and the main header of a JPEG 2000 file say: size, levels, what the components mean, and turning.

Boxes and markers as in ISO/IEC 15444-1, annexes A and I. They are read here because every decoder at hand is the same
one, and takes no notice of some of them. No picture data is decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dlcs_stack.pictures.errors import DamagedError

SIGNATURE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
CODESTREAM: Final = b"\xff\x4f\xff\x51"

_SOC, _SIZ, _COD, _COC, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFFD9
_ENUMERATED, _RESTRICTED_ICC, _ANY_ICC = 1, 2, 3
_XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID: Final = b"JpgTiffExif->JP2"
_XMP_ORIENTATION: Final = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")
_METADATA_LIMIT: Final = 16 * 2**20
_WIDE_COMPONENTS: Final = 257  # from this number of components on, COC names its component with two bytes
_TILE_PART_HEADER: Final = 14  # SOT and SOD
_MOST_COMPONENTS: Final = 64
_MOST_TILES: Final = 65_535  # by the standard

WHOLE_IMAGE, UNASSIGNED = 0, 65535
COLOUR, OPACITY, PREMULTIPLIED_OPACITY = 0, 1, 2


@dataclass(frozen=True)
class Component:
    """Samples of `bits`, one for each `across` x `down` points of the reference grid."""

    bits: int
    signed: bool
    across: int
    down: int


@dataclass(frozen=True)
class Channel:
    """An entry of the channel definition box: `kind` 0 is colour, 1 opacity, 2 premultiplied opacity.

    `of` is the colour that it is or belongs to, from 1; 0 the whole image.
    """

    number: int
    kind: int
    of: int


@dataclass(frozen=True)
class Palette:
    """The palette box: `columns[c][i]` is the value for index i in column c, in `bits[c]` bits."""

    bits: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Codestream:
    """The main header. Lengths are points of the reference grid; `levels` how often edges can be halved in decoding.

    `first_tile_part` is where that begins in the file, in bytes.
    """

    width: int
    height: int
    tiles: int
    levels: int
    at_origin: bool
    components: tuple[Component, ...]
    first_tile_part: int


@dataclass(frozen=True)
class Jp2:
    """A JPEG 2000 file. `start` and `end` are where the box of its codestream is, in bytes.

    `colour_space` is the enumerated one (16 sRGB, 17 grey, 18 sYCC, 12 CMYK), None where there is none.
    `mapping`: for each channel its component, and the column of the palette or None.
    """

    codestream: Codestream
    start: int
    end: int
    icc: bytes | None = None
    colour_space: int | None = None
    channels: tuple[Channel, ...] = ()
    palette: Palette | None = None
    mapping: tuple[tuple[int, int | None], ...] = ()
    exif: bytes | None = None
    xmp_orientation: int = 1

    @property
    def is_plain(self) -> bool:
        """Return whether it is grey or RGB of 8 bits, perhaps with opacity as the last component."""
        components = self.codestream.components
        count = len(components)
        colours = 1 if count <= 2 else 3  # noqa: PLR2004 (grey with opacity)
        spaces = (17, None) if colours == 1 else (16, None)
        return (
            count <= 4  # noqa: PLR2004 (RGB with opacity)
            and all(component == Component(8, signed=False, across=1, down=1) for component in components)
            and self.palette is None
            and self.colour_space in spaces
            and (not self.channels or set(self.channels) == _usual(colours, count))
            and (bool(self.channels) or count == colours)
        )


def _usual(colours: int, count: int) -> set[Channel]:
    opacity = {Channel(colours, OPACITY, WHOLE_IMAGE)} if count > colours else set()
    return {Channel(number, COLOUR, number + 1) for number in range(colours)} | opacity


@dataclass
class _Boxes:
    """What has been found so far."""

    icc: bytes | None = None
    colour_space: int | None = None
    channels: tuple[Channel, ...] = ()
    palette: Palette | None = None
    mapping: tuple[tuple[int, int | None], ...] = ()
    exif: bytes | None = None
    xmp_orientation: int = 1
    codestream: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    colour_found: bool = False


def is_jp2(path: Path) -> bool:
    """Return whether a file is a JP2 by its first bytes: the signature, and `jp2 ` as brand or compatible brand.

    A JPX without that, or a codestream without a file format around it, is not.
    """
    with path.open("rb") as file:
        if file.read(12) != SIGNATURE:
            return False
        length, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        body = file.read(min(length, 4096) - 8) if kind == b"ftyp" and length > 8 else b""  # noqa: PLR2004 (a box's header)
    brands = [body[:4], *(body[at : at + 4] for at in range(8, len(body), 4))]
    return b"jp2 " in brands


def read_jp2(path: Path) -> Jp2:
    """Read the headers of a JP2 or JPX file, or of a bare codestream. Raises `DamagedError`."""
    with _errors(), path.open("rb") as file:
        return _read(file, path.stat().st_size)


def codestream_end(path: Path, jp2: Jp2) -> int:
    """Follow the tile-parts and return where the codestream ends; raise `DamagedError` where not all of it is there."""
    with _errors(), path.open("rb") as file:
        return _follow_tile_parts(file, jp2)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (struct.error, ValueError, IndexError) as error:
        raise DamagedError(f"is a damaged JP2: {error}") from error


def _read(file: BinaryIO, file_size: int) -> Jp2:
    found = _Boxes()
    if file.read(4) == CODESTREAM:
        found.codestream = (0, file_size)
    else:
        try:
            _read_boxes(file, file_size, found)
        except ValueError:
            if found.codestream is None:  # what stands behind it is no reason to refuse it
                raise
    if found.codestream is None:
        raise ValueError("it holds no codestream; the file is truncated")
    start, end = found.codestream
    codestream = _read_main_header(file, start)
    if found.size not in (None, (codestream.height, codestream.width)):
        raise ValueError("its boxes and its codestream disagree about its size")
    if codestream.tiles > _MOST_TILES:
        raise ValueError(f"it states {codestream.tiles} tiles")
    return Jp2(
        codestream,
        start,
        end,
        icc=found.icc,
        colour_space=found.colour_space,
        channels=found.channels,
        palette=found.palette,
        mapping=found.mapping,
        exif=found.exif,
        xmp_orientation=found.xmp_orientation,
    )


def _read_boxes(file: BinaryIO, file_size: int, found: _Boxes) -> None:
    for kind, start, end in _boxes(file, 0, file_size):
        if kind == b"jp2h":
            _read_header_box(file, start, min(end, file_size), found)
        elif kind == b"uuid":
            _read_uuid(file, start, min(end, file_size), found)
        elif kind == b"jp2c" and found.codestream is None:
            found.codestream = (start, min(end, file_size))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the contents of each box between two positions; the last may end behind them."""
    while start + 8 <= end:
        length, kind = struct.unpack(">I4s", _read_at(file, start, 8))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", _read_at(file, start + 8, 8))
            header = 16
        elif length == 0:
            length = end - start
        if length < header:
            raise ValueError("a box has no room for its own header")
        yield kind, start + header, start + length
        start += length


def _read_header_box(file: BinaryIO, start: int, end: int, found: _Boxes) -> None:
    for kind, inner_start, inner_end in _boxes(file, start, end):
        if kind not in (b"ihdr", b"colr", b"cdef", b"pclr", b"cmap") or inner_end - inner_start > _METADATA_LIMIT:
            continue
        body = _read_at(file, inner_start, inner_end - inner_start)
        if kind == b"ihdr":
            height, width = struct.unpack_from(">II", body)
            found.size = (height, width)
        elif kind == b"colr":
            _read_colour(body, found)
        elif kind == b"cdef":
            (count,) = struct.unpack_from(">H", body)
            found.channels = tuple(Channel(*struct.unpack_from(">3H", body, 2 + 6 * at)) for at in range(count))
        elif kind == b"pclr":
            found.palette = _palette(body)
        else:
            maps = (struct.unpack_from(">HBB", body, at) for at in range(0, len(body), 4))
            found.mapping = tuple((component, column if direct else None) for component, direct, column in maps)


def _read_colour(body: bytes, found: _Boxes) -> None:
    """Take the first colour specification that is understood: readers have to ignore the others."""
    method = body[0] if body else 0
    if found.colour_found:
        return
    if method in (_RESTRICTED_ICC, _ANY_ICC):
        found.icc = body[3:]
        found.colour_found = True
    elif method == _ENUMERATED:
        (found.colour_space,) = struct.unpack_from(">I", body, 3)
        found.colour_found = True


def _palette(body: bytes) -> Palette:
    entries, columns = struct.unpack_from(">HB", body)
    bits = tuple((depth & 0x7F) + 1 for depth in body[3 : 3 + columns])
    at = 3 + columns
    rows = []
    for _ in range(entries):
        row = []
        for depth in bits:
            length = (depth + 7) // 8
            row.append(int.from_bytes(body[at : at + length], "big"))
            at += length
        rows.append(row)
    if at > len(body) or not rows:
        raise ValueError("its palette is incomplete")
    return Palette(bits, tuple(zip(*rows, strict=True)))


def _read_uuid(file: BinaryIO, start: int, end: int, found: _Boxes) -> None:
    if end - start > _METADATA_LIMIT:
        return
    body = _read_at(file, start, end - start)
    if body.startswith(_EXIF_UUID):
        found.exif = body[16:]
    elif body.startswith(_XMP_UUID) and (match := _XMP_ORIENTATION.search(body)):
        found.xmp_orientation = int(match[1])


def _read_main_header(file: BinaryIO, at: int) -> Codestream:
    (marker,) = struct.unpack(">H", _read_at(file, at, 2))
    if marker != _SOC:
        raise ValueError("its codestream does not begin as one")
    at += 2
    size: bytes | None = None
    components: tuple[Component, ...] = ()
    levels: list[int] = []
    while True:
        marker, length = struct.unpack(">HH", _read_at(file, at, 4))
        if marker == _SOT:
            break
        if marker < 0xFF00 or length < 2:  # noqa: PLR2004 (where markers begin; a segment counts its length field)
            raise ValueError("its main header is not a chain of marker segments")
        segment = _read_at(file, at + 4, length - 2)
        if marker == _SIZ:
            size = segment
            components = _components(segment)
        elif marker == _COD:
            levels.append(segment[5])
        elif marker == _COC:
            levels.append(segment[3 if len(components) < _WIDE_COMPONENTS else 4])
        at += 2 + length
    if size is None or not levels:
        raise ValueError("its main header lacks the image's size or coding style")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack(">8I", size[2:34])
    if right <= left or bottom <= top or not tile_width or not tile_height:
        raise ValueError("its main header gives no area")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    at_origin = not (left or top)
    return Codestream(right - left, bottom - top, tiles, min(levels), at_origin, components, first_tile_part=at)


def _components(size: bytes) -> tuple[Component, ...]:
    (count,) = struct.unpack_from(">H", size, 34)
    found = tuple(
        Component((depth & 0x7F) + 1, bool(depth & 0x80), across, down)
        for depth, across, down in (size[36 + 3 * at : 39 + 3 * at] for at in range(count))
    )
    if len(found) > _MOST_COMPONENTS:
        raise ValueError(f"it has {len(found)} components, more than {_MOST_COMPONENTS}")
    if not found or any(not component.across or not component.down for component in found):
        raise ValueError("its main header describes no components")
    return found


def _follow_tile_parts(file: BinaryIO, jp2: Jp2) -> int:
    at, end, tiles = jp2.codestream.first_tile_part, jp2.end, jp2.codestream.tiles
    seen: set[int] = set()
    while at + 2 <= end:
        (marker,) = struct.unpack(">H", _read_at(file, at, 2))
        if marker == _EOC:
            end = at + 2
            break
        if marker != _SOT:
            raise ValueError("its tile-parts do not follow one another")
        _, tile, length = struct.unpack(">HHI", _read_at(file, at + 2, 8))
        seen.add(tile)
        if length == 0:  # up to the end of the codestream
            break
        if length < _TILE_PART_HEADER or at + length > end:
            raise ValueError("it ends in the middle of a tile; the file is truncated")
        at += length
    if len(seen) < tiles:
        raise ValueError(f"only {len(seen)} of its {tiles} tiles are there; the file is truncated")
    return end


def _read_at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends in the middle of a header; the file is truncated")
    return data
