"""What the samples of a JP2 stand for, as the boxes of its header say (ISO/IEC 15444-1, annex I.5.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from dlcs_assets.pictures.jp2_boxes import Box, BrokenJp2Error, is_codestream, read_at, read_boxes

SRGB, GREY, SYCC = 16, 17, 18  # enumerated colour spaces
CIELAB, CMYK = 14, 12
_ENUMERATED, _RESTRICTED_ICC, _ANY_ICC = 1, 2, 3
_COLOUR_CHANNEL, _ALPHA_CHANNEL, _PREMULTIPLIED = 0, 1, 2
_DIFFERENT: Final = 255  # bits of components, given in a box of their own
_MAX_BOX: Final = 2**24
_CSIZ: Final = 40  # where a codestream says how many components it has


@dataclass(frozen=True, slots=True)
class Palette:
    """A palette: `columns` of 8-bit or deeper entries, and for each channel the component and the column it is from."""

    columns: tuple[tuple[int, ...], ...]
    bits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Jp2Colour:
    """How components become colours.

    `space` is an enumerated colour space, None with a profile or if nothing is said. `channels` are indices of
    channels in the order of the colours; `alpha` that of the opacity, if there is one.
    """

    components: int
    bits: tuple[int, ...] = ()
    signed: bool = False
    space: int | None = None
    profile: bytes | None = field(default=None, repr=False)
    palette: Palette | None = None
    mapping: tuple[tuple[int, int | None], ...] = ()  # channel -> component, column of the palette
    channels: tuple[int, ...] = ()
    alpha: int | None = None
    is_premultiplied: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether any reader makes the same of it: grey or RGB of 8 or 16 bits in the usual order, nothing besides."""
        usual = self.channels == tuple(range(self.components)) and self.components in {1, 3}
        return (
            usual
            and self.alpha is None
            and self.palette is None
            and self.space in {SRGB, GREY, None}
            and not self.signed
            and len(set(self.bits)) == 1
            and self.bits[0] in {8, 16}
        )


def read_jp2_colour(path: Path) -> Jp2Colour:
    """Read the boxes of a JP2's header, or the components of a codestream without boxes. Raises BrokenJp2Error."""
    with path.open("rb") as file:
        if is_codestream(file):
            return _of_components(file)
        for box in read_boxes(file, 0, path.stat().st_size):
            if box.kind == b"jp2h":
                return _read_header(file, box)
    raise BrokenJp2Error("there is no header")


def _of_components(file: BinaryIO) -> Jp2Colour:
    """Take the depths from the marker SIZ (annex A.5.1); of colours it says nothing."""
    (count,) = struct.unpack(">H", read_at(file, _CSIZ, 2))
    depths = read_at(file, _CSIZ + 2, 3 * count)[::3]
    bits = tuple((each & 0x7F) + 1 for each in depths)
    return _with_channels(Jp2Colour(count, bits, signed=any(each & 0x80 for each in depths)), [])


def _read_header(file: BinaryIO, header: Box) -> Jp2Colour:
    found: Jp2Colour | None = None
    definitions: list[tuple[int, int, int]] = []
    for box, content in _contents(file, header):
        try:
            if box.kind == b"ihdr":
                _, _, components, bits = struct.unpack_from(">IIHB", content)
                depth = (bits & 0x7F) + 1
                found = Jp2Colour(components, (depth,) * components, signed=bool(bits & 0x80) and bits != _DIFFERENT)
            elif box.kind == b"cdef":
                (count,) = struct.unpack_from(">H", content)
                definitions = list(struct.iter_unpack(">HHH", content[2 : 2 + 6 * count]))
            elif found is not None:
                found = _with_box(found, box.kind, content)
        except struct.error as error:
            raise BrokenJp2Error(f"its box {box.kind.decode('latin-1')!r} is too short") from error
    if found is None:
        raise BrokenJp2Error("its header does not give the size of the picture")
    return _with_channels(found, definitions)


def _with_box(found: Jp2Colour, kind: bytes, content: bytes) -> Jp2Colour:
    match kind:
        case b"bpcc":
            bits = content[: found.components]
            return replace(
                found, bits=tuple((each & 0x7F) + 1 for each in bits), signed=any(each & 0x80 for each in bits)
            )
        case b"colr":
            return _with_colour(found, content)
        case b"pclr":
            return replace(found, palette=_palette(content))
        case b"cmap":
            entries = struct.iter_unpack(">HBB", content[: len(content) // 4 * 4])
            return replace(found, mapping=tuple((at, column if kind else None) for at, kind, column in entries))
        case _:
            return found


def _contents(file: BinaryIO, header: Box) -> Iterator[tuple[Box, bytes]]:
    for box in read_boxes(file, header.start, header.end):
        if box.end - box.start > _MAX_BOX:
            raise BrokenJp2Error(f"its box {box.kind.decode('latin-1')!r} is too large")
        yield box, read_at(file, box.start, box.end - box.start)


def _with_colour(found: Jp2Colour, content: bytes) -> Jp2Colour:
    """Take a colour specification, unless an earlier one was understood."""
    if found.space is not None or found.profile is not None or len(content) < 3:  # noqa: PLR2004 (its fixed part)
        return found
    if content[0] == _ENUMERATED:
        (space,) = struct.unpack_from(">I", content, 3)
        return replace(found, space=space)
    if content[0] in {_RESTRICTED_ICC, _ANY_ICC}:
        return replace(found, profile=content[3:])
    return found


def _palette(content: bytes) -> Palette:
    entries, columns = struct.unpack_from(">HB", content)
    bits = tuple((each & 0x7F) + 1 for each in content[3 : 3 + columns])
    if len(bits) < columns or columns == 0 or entries == 0:
        raise BrokenJp2Error("its palette is empty")
    widths = [(each + 7) // 8 for each in bits]
    table: list[list[int]] = [[] for _ in bits]
    at = 3 + columns
    if len(content) < at + entries * sum(widths):
        raise BrokenJp2Error("its palette breaks off")
    for _ in range(entries):
        for column, width in enumerate(widths):
            table[column].append(int.from_bytes(content[at : at + width], "big"))
            at += width
    return Palette(tuple(tuple(column) for column in table), bits)


def _with_channels(found: Jp2Colour, definitions: list[tuple[int, int, int]]) -> Jp2Colour:
    count = len(found.mapping) if found.palette else found.components
    if not definitions:
        return replace(found, channels=tuple(range(count)))
    kinds = {channel: (kind, association) for channel, kind, association in definitions}
    coloured: list[tuple[int, int]] = []
    alpha: int | None = None
    premultiplied = False
    for channel in range(count):
        kind, association = kinds.get(channel, (_COLOUR_CHANNEL, channel + 1))
        if kind == _COLOUR_CHANNEL:
            coloured.append((association, channel))
        elif kind in {_ALPHA_CHANNEL, _PREMULTIPLIED} and alpha is None:
            alpha, premultiplied = channel, kind == _PREMULTIPLIED
    order = tuple(channel for _, channel in sorted(coloured))
    return replace(found, channels=order, alpha=alpha, is_premultiplied=premultiplied)
