"""The marker segments of a JPEG 2000 codestream, read from ISO 15444-1 Annex A and not from our own parser."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

RPCL = 2
IRREVERSIBLE = 0


@dataclass(frozen=True)
class Profile:
    width: int
    height: int
    tile: tuple[int, int]
    components: int
    progression: int
    layers: int
    colour_transform: int
    levels: int
    wavelet: int
    own_precincts: bool
    has_plt: bool
    colour_space: int
    """16 is sRGB, 17 greyscale."""


def profile_of(path: Path) -> Profile:
    data = path.read_bytes()
    assert data.startswith(b"\x00\x00\x00\x0cjP  \r\n\x87\n")
    assert data[16:24] == b"ftypjp2 "
    stream = data.index(b"jp2c") + 4
    siz = data.index(b"\xff\x51", stream) + 4
    _, right, bottom, left, top, tile_width, tile_height, _, _, components = struct.unpack_from(">H8IH", data, siz)
    cod = data.index(b"\xff\x52", stream) + 4
    style, progression, layers, transform, levels, _, _, _, wavelet = struct.unpack_from(">BBHBBBBBB", data, cod)
    first_tile = data.index(b"\xff\x90", stream)
    first_data = data.index(b"\xff\x93", first_tile)
    colour = data.index(b"colr") + 4
    assert data[colour] == 1
    return Profile(
        width=right - left,
        height=bottom - top,
        tile=(tile_width, tile_height),
        components=components,
        progression=progression,
        layers=layers,
        colour_transform=transform,
        levels=levels,
        wavelet=wavelet,
        own_precincts=bool(style & 1),
        has_plt=b"\xff\x58" in data[first_tile:first_data],
        colour_space=struct.unpack_from(">I", data, colour + 3)[0],
    )
