"""TIFFs written tag by tag, for what no library writes; the samples are given as they are to be stored."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BYTE, SHORT, LONG, UNDEFINED, LONG8 = 1, 3, 4, 7, 16
_FORMS = {BYTE: "B", SHORT: "H", LONG: "I", UNDEFINED: "B", LONG8: "Q"}
_STRIPS, _TILES = (273, 279), (324, 325)  # the tags of offsets, and of lengths


@dataclass(frozen=True)
class RawPage:
    """A page in one strip, or one for each plane, or in tiles of one edge. `tags` are tag: (type, values), and win."""

    width: int
    height: int
    bits: Sequence[int]
    photometric: int
    strips: Sequence[bytes]
    tags: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict)
    tile: int | None = None

    def entries(self, offsets: Sequence[int], kind: int) -> dict[int, tuple[int, Sequence[int]]]:
        planes = len(self.strips) > 1
        position, length = _TILES if self.tile else _STRIPS
        size = {322: (LONG, [self.tile]), 323: (LONG, [self.tile])} if self.tile else {278: (LONG, [self.height])}
        return {
            256: (LONG, [self.width]),
            257: (LONG, [self.height]),
            258: (SHORT, self.bits),
            259: (SHORT, [1]),
            262: (SHORT, [self.photometric]),
            277: (SHORT, [len(self.bits)]),
            284: (SHORT, [2 if planes else 1]),
            length: (LONG, [len(strip) for strip in self.strips]),
            **size,
            **self.tags,
            position: (kind, offsets),
        }


def raw_tiff(*pages: RawPage, order: str = "<", big: bool = False) -> bytes:
    """Return a TIFF, or a BigTIFF, of these pages, little-endian or with `>` big-endian."""
    count, offset, offsets_kind = ("Q", "Q", LONG8) if big else ("H", "I", LONG)
    word = struct.calcsize(offset)
    signature = struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    body = bytearray((b"II" if order == "<" else b"MM") + signature)
    link = len(body)
    body += bytes(word)
    for page in pages:
        offsets = []
        for strip in page.strips:
            offsets.append(len(body))
            body += strip + bytes(len(strip) % 2)
        entries = page.entries(offsets, offsets_kind)
        directory = b""
        for tag, (kind, values) in sorted(entries.items()):
            data = struct.pack(f"{order}{len(values)}{_FORMS[kind]}", *values)
            if len(data) > word:
                field_bytes = struct.pack(order + offset, len(body))
                body += data + bytes(len(data) % 2)
            else:
                field_bytes = data.ljust(word, b"\0")
            directory += struct.pack(f"{order}HH{offset}", tag, kind, len(values)) + field_bytes
        struct.pack_into(order + offset, body, link, len(body))
        body += struct.pack(order + count, len(entries)) + directory
        link = len(body)
        body += bytes(word)
    return bytes(body)
