"""The structure of a JP2: whether it is whole, and how it is divided. Headers are parsed, image data is skipped.

It is read before anything else reads the file: jpylyzer and decoders need not end on every broken one.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.pictures.jp2_boxes import Box, BrokenJp2Error, is_codestream, read_at, read_boxes

_SIGNATURE: Final = b"\r\n\x87\n"
_PROGRESSIONS: Final = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
_SMALL_ENOUGH_UNTILED: Final = 1024
_SMALL_ENOUGH_UNSCALED: Final = 256

# Markers of the codestream (ISO/IEC 15444-1, annex A).
_SOC, _SIZ, _COD, _SOT, _SOD, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF90, 0xFF93, 0xFFD9
_TLM, _PLM, _PLT = 0xFF55, 0xFF57, 0xFF58
_FIRST_MARKER: Final = 0xFF01
_SOT_BYTES: Final = 12
_EMPTY_TABLE: Final = 3  # bytes of a table of packet lengths without any
_DEFAULT_PRECINCT: Final = 2**15
_MAX_PADDING: Final = 2**20
_MAX_LEVELS: Final = 32
_PADDING: Final = b"\0\r\n "


@dataclass(frozen=True)
class Jp2Structure:
    """How a JP2 is built; sizes in pixels. `levels` counts the halvings: there is one resolution more.

    `precincts` are those of the resolutions from the smallest, empty where the default (no division) is used.
    `codestream` is where it begins and ends in the file. `notes` say what is not as the standard has it and stops no
    decoder.
    """

    width: int
    height: int
    components: int
    bit_depth: int
    tile_width: int
    tile_height: int
    levels: int
    layers: int
    progression: str
    irreversible: bool
    precincts: tuple[tuple[int, int], ...]
    has_tlm: bool = False
    has_plt: bool = False
    tiles: int = 1
    tile_parts: int = 1
    at_origin: bool = True
    is_subsampled: bool = False
    codestream: tuple[int, int] = field(default=(0, 0), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_tile_ready(self) -> bool:
        """Whether a server can cut a tile out of it, at any scale, without decoding the whole picture.

        A picture that is no larger than a tile needs none, and one that is no larger than a thumbnail no resolutions.
        """
        longest = max(self.width, self.height)
        scalable = self.levels > 0 or longest <= _SMALL_ENOUGH_UNSCALED
        return scalable and (self.tiles > 1 or bool(self.precincts) or longest <= _SMALL_ENOUGH_UNTILED)

    @property
    def packets(self) -> int:
        """How many packets it consists of, about: one for each precinct, layer and component."""
        edges = self.precincts or ((_DEFAULT_PRECINCT, _DEFAULT_PRECINCT),) * (self.levels + 1)
        precincts = 0
        for halvings, (across, down) in zip(range(self.levels, -1, -1), edges, strict=False):
            width, height = (-(-edge >> halvings) for edge in (self.width, self.height))
            precincts += max(self.tiles, -(-width // across) * -(-height // down))
        return precincts * self.components * self.layers


def read_jp2_structure(path: Path) -> Jp2Structure:
    """Walk through all boxes, markers and tile-parts to the end of the last tile; a bare codestream has no boxes.

    Raises PermanentError `jp2_broken`, which says what is wrong, where parts of the picture are missing. That the data
    between the markers decodes is not shown by this. What decoders read in spite of it is noted.
    """
    try:
        with path.open("rb") as file:
            return _read_file(file, path.stat().st_size)
    except BrokenJp2Error as error:
        raise PermanentError(
            "jp2_broken",
            f"The JP2 is broken: {error}",
            remedy="If it came from the origin, put a whole one there; if Appetiser made it, see its log; then retry.",
        ) from error


def _read_file(file: BinaryIO, size: int) -> Jp2Structure:
    stated: tuple[int, int, int] | None = None
    structure: Jp2Structure | None = None
    if is_codestream(file):
        return _read_codestream(file, 0, size)
    boxes = read_boxes(file, 0, size)
    first = next(boxes, None)
    if first is None or first.kind != b"jP  " or read_at(file, first.start, len(_SIGNATURE)) != _SIGNATURE:
        raise BrokenJp2Error("it does not begin with the signature of a JP2")
    try:
        for box in boxes:
            if box.kind == b"jp2h":
                stated = _read_image_header(file, box)
            elif box.kind == b"jp2c" and structure is None:
                structure = _read_codestream(file, box.start, box.end)
    except BrokenJp2Error:
        if structure is None or stated is None:
            raise
        structure = replace(structure, notes=(*structure.notes, "what follows the codestream is no box"))
    if structure is None or stated is None:
        raise BrokenJp2Error("there is no codestream" if structure is None else "there is no header")
    if stated != (structure.width, structure.height, structure.components):
        raise BrokenJp2Error("header and codestream differ about the size of the picture")
    return structure


def _read_image_header(file: BinaryIO, header: Box) -> tuple[int, int, int]:
    """Return width, height and number of components from the `ihdr` in a `jp2h`."""
    for box in read_boxes(file, header.start, header.end):
        if box.kind == b"ihdr":
            height, width, components = struct.unpack(">IIH", read_at(file, box.start, 10))
            return width, height, components
    raise BrokenJp2Error("its header does not give the size of the picture")


def _read_codestream(file: BinaryIO, start: int, end: int) -> Jp2Structure:
    structure, first_tile_part = _read_main_header(file, start, end)
    seen: Counter[int] = Counter()
    promised: dict[int, int] = {}
    notes: list[str] = []
    has_plt = False
    at = first_tile_part
    while _begins_tile_part(file, at, end):
        tile, length, count = _read_tile_part_start(file, at, end)
        if tile >= structure.tiles:
            raise BrokenJp2Error(f"there is a tile {tile} in a picture of {structure.tiles} tiles")
        has_plt |= _PLT in _tile_part_markers(file, at + _SOT_BYTES, at + length)
        seen[tile] += 1
        if count:
            promised[tile] = count
        at += length
    if len(seen) != structure.tiles:
        raise BrokenJp2Error(f"it has {len(seen)} of {structure.tiles} tiles")
    for tile, count in promised.items():
        if seen[tile] < count:
            raise BrokenJp2Error(f"it has {seen[tile]} of {count} parts of tile {tile}")
    if any(seen[tile] > count for tile, count in promised.items()):
        notes.append("tiles have more parts than they state")
    if not _ends(file, at, end):
        notes.append("its codestream has no end marker")
    elif at + 2 < end:
        notes.append(f"{end - at - 2} bytes follow the end of its codestream")
    return replace(
        structure,
        has_plt=has_plt or structure.has_plt,
        tile_parts=seen.total(),
        codestream=(start, end),
        notes=tuple(notes),
    )


def _begins_tile_part(file: BinaryIO, at: int, end: int) -> bool:
    """Return whether there is another tile-part; if not, tiles are counted."""
    return at + 2 <= end and read_at(file, at, 2) == _SOT.to_bytes(2, "big")


def _ends(file: BinaryIO, at: int, end: int) -> bool:
    return at + 2 <= end and read_at(file, at, 2) == _EOC.to_bytes(2, "big")


def _read_main_header(file: BinaryIO, start: int, end: int) -> tuple[Jp2Structure, int]:
    if _marker(file, start, end) != _SOC or _marker(file, start + 2, end) != _SIZ:
        raise BrokenJp2Error("its codestream does not begin as one")
    segments: dict[int, bytes] = {}
    at = start + 2
    while (marker := _marker(file, at, end)) != _SOT:
        length = _segment_length(file, at, end)
        # Only two are read, and both are short; tables of packet lengths need not come into memory.
        segments[marker] = read_at(file, at + 4, length - 2) if marker in {_SIZ, _COD} else b""
        _check_packet_lengths(file, marker, at, length)
        at += 2 + length
    if _COD not in segments:
        raise BrokenJp2Error("its codestream does not say how it is coded")
    try:
        structure = _structure(segments[_SIZ], segments[_COD])
    except (struct.error, LookupError, ZeroDivisionError) as error:
        raise BrokenJp2Error("the header of its codestream is not readable") from error
    if min(structure.width, structure.height, structure.components) < 1:
        raise BrokenJp2Error("it has no pixels")
    if structure.levels > _MAX_LEVELS:
        raise BrokenJp2Error(f"it states {structure.levels} levels of resolution")
    return replace(structure, has_tlm=_TLM in segments, has_plt=_PLM in segments), at


def _structure(siz: bytes, cod: bytes) -> Jp2Structure:
    _, x1, y1, x0, y0, tile_width, tile_height, tile_x0, tile_y0, components = struct.unpack_from(">H8IH", siz)
    depths = [(siz[36 + 3 * component] & 0x7F) + 1 for component in range(components)]
    own_precincts, progression, layers, _, levels = struct.unpack_from(">BBHBB", cod)
    transformation = cod[9]
    precincts = cod[10 : 11 + levels] if own_precincts & 1 else b""
    edges = tuple((1 << (exponents & 15), 1 << (exponents >> 4)) for exponents in precincts)
    steps = {(siz[37 + 3 * component], siz[38 + 3 * component]) for component in range(components)}
    across, down = -(-(x1 - tile_x0) // tile_width), -(-(y1 - tile_y0) // tile_height)
    return Jp2Structure(
        width=x1 - x0,
        height=y1 - y0,
        components=components,
        bit_depth=max(depths, default=0),
        tile_width=tile_width,
        tile_height=tile_height,
        levels=levels,
        layers=layers,
        progression=_PROGRESSIONS[progression],
        irreversible=transformation == 0,
        precincts=edges if any(min(edge) < _DEFAULT_PRECINCT for edge in edges) else (),
        tiles=across * down,
        at_origin=(x0, y0, tile_x0, tile_y0) == (0, 0, 0, 0),
        is_subsampled=steps != {(1, 1)},
    )


def _read_tile_part_start(file: BinaryIO, at: int, end: int) -> tuple[int, int, int]:
    """Return the tile, the length of the tile-part in bytes, and how many the tile has (0: not said)."""
    _need(at, _SOT_BYTES, end)
    segment, tile, length, _, count = struct.unpack(">HHIBB", read_at(file, at + 2, _SOT_BYTES - 2))
    if length == 0:
        length = _end_marker(file, at, end) - at
    if segment != _SOT_BYTES - 2 or length < _SOT_BYTES + 2:
        raise BrokenJp2Error(f"tile {tile} has an impossible length")
    if at + length > end:
        raise BrokenJp2Error(f"it breaks off in tile {tile}, {at + length - end} bytes before the tile's end")
    return tile, length, count


def _end_marker(file: BinaryIO, at: int, end: int) -> int:
    """Return where the end marker is, before padding: the last tile-part need not say how long it is."""
    start = max(at, end - _MAX_PADDING)
    tail = read_at(file, start, end - start).rstrip(_PADDING)
    if not tail.endswith(_EOC.to_bytes(2, "big")):
        raise BrokenJp2Error(f"it breaks off in the last tile-part, which begins at byte {at}")
    return start + len(tail) - 2


def _tile_part_markers(file: BinaryIO, at: int, end: int) -> set[int]:
    markers: set[int] = set()
    while (marker := _marker(file, at, end)) != _SOD:
        markers.add(marker)
        length = _segment_length(file, at, end)
        _check_packet_lengths(file, marker, at, length)
        at += 2 + length
    return markers


def _check_packet_lengths(file: BinaryIO, marker: int, at: int, length: int) -> None:
    """Refuse a table of packet lengths that ends within a number: jpylyzer 2.2 would read on without an end."""
    if marker in {_PLT, _PLM} and length > _EMPTY_TABLE and read_at(file, at + 1 + length, 1)[0] & 0x80:
        raise BrokenJp2Error(f"the table of packet lengths at byte {at} breaks off")


def _segment_length(file: BinaryIO, at: int, end: int) -> int:
    _need(at, 4, end)
    (length,) = struct.unpack(">H", read_at(file, at + 2, 2))
    if length < 2:  # noqa: PLR2004 (the length counts its own two bytes)
        raise BrokenJp2Error(f"a marker at byte {at} has an impossible length")
    _need(at + 2, length, end)
    return int(length)


def _marker(file: BinaryIO, at: int, end: int) -> int:
    _need(at, 2, end)
    (marker,) = struct.unpack(">H", read_at(file, at, 2))
    if marker < _FIRST_MARKER:
        raise BrokenJp2Error(f"there is no marker at byte {at}")
    return int(marker)


def _need(at: int, length: int, end: int) -> None:
    if at + length > end:
        raise BrokenJp2Error(f"its codestream breaks off at byte {at}")
