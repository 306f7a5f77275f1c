"""TIFFs written tag by tag, for what no library writes; the samples are given as they are to be stored."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHORT, LONG, BYTE = 3, 4, 1
_FORMS = {BYTE: "B", SHORT: "H", LONG: "I"}


@dataclass(frozen=True)
class RawPage:
    """A page in one strip, or one for each plane. `tags` are tag: (type, values), and win over all others."""

    width: int
    height: int
    bits: Sequence[int]
    photometric: int
    strips: Sequence[bytes]
    tags: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict)

    def entries(self) -> dict[int, tuple[int, Sequence[int]]]:
        planes = len(self.strips) > 1
        return {
            256: (LONG, [self.width]),
            257: (LONG, [self.height]),
            258: (SHORT, self.bits),
            259: (SHORT, [1]),
            262: (SHORT, [self.photometric]),
            273: (LONG, [0] * len(self.strips)),
            277: (SHORT, [len(self.bits)]),
            278: (LONG, [self.height]),
            279: (LONG, [len(strip) for strip in self.strips]),
            284: (SHORT, [2 if planes else 1]),
            **self.tags,
        }


def raw_tiff(*pages: RawPage, order: str = "<") -> bytes:
    """Return a TIFF of these pages, little-endian or with `>` big-endian."""
    body = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    link = 4
    for page in pages:
        offsets = []
        for strip in page.strips:
            offsets.append(len(body))
            body += strip + bytes(len(strip) % 2)
        entries = page.entries() | {273: (LONG, offsets)}
        directory = b""
        for tag, (kind, values) in sorted(entries.items()):
            data = struct.pack(f"{order}{len(values)}{_FORMS[kind]}", *values)
            if len(data) > 4:
                field_bytes = struct.pack(order + "I", len(body))
                body += data + bytes(len(data) % 2)
            else:
                field_bytes = data.ljust(4, b"\0")
            directory += struct.pack(order + "HHI", tag, kind, len(values)) + field_bytes
        struct.pack_into(order + "I", body, link, len(body))
        body += struct.pack(order + "H", len(entries)) + directory
        link = len(body)
        body += bytes(4)
    return bytes(body)
