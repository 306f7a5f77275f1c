"""The boxes that a JP2 file consists of (ISO/IEC 15444-1, annex I)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_SHORT_HEADER: Final = 8
_LONG_HEADER: Final = 16
_MAX_BOXES: Final = 10_000


class BrokenJp2Error(Exception):
    """What is wrong with the file, in words that follow a colon."""


@dataclass(frozen=True)
class Box:
    """A box: its type, and where its content begins and ends in the file."""

    kind: bytes
    start: int
    end: int


def is_codestream(file: BinaryIO) -> bool:
    """Return whether a file is a codestream without boxes: its first markers are SOC and SIZ."""
    file.seek(0)
    return file.read(4) == b"\xff\x4f\xff\x51"


def read_boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two positions. Raises BrokenJp2Error where one does not fit."""
    at, count = start, 0
    while at < end:
        count += 1
        if count > _MAX_BOXES:
            raise BrokenJp2Error(f"it has more than {_MAX_BOXES} boxes")
        length, kind = struct.unpack(">I4s", read_at(file, at, _SHORT_HEADER))
        header = _SHORT_HEADER
        if length == 1:
            header = _LONG_HEADER
            (length,) = struct.unpack(">Q", read_at(file, at + _SHORT_HEADER, _LONG_HEADER - _SHORT_HEADER))
        elif length == 0:
            length = end - at  # up to the end of the file
        name = repr(kind.decode("latin-1").strip())
        if length < header:
            raise BrokenJp2Error(f"box {name} at byte {at} has an impossible length")
        if at + length > end:
            raise BrokenJp2Error(f"it breaks off in box {name}, {at + length - end} bytes before its end")
        yield Box(kind, at + header, at + length)
        at += length


def read_at(file: BinaryIO, at: int, length: int) -> bytes:
    """Read `length` bytes at a position. Raises BrokenJp2Error if there are fewer."""
    file.seek(at)
    data = file.read(length)
    if len(data) < length:
        raise BrokenJp2Error(f"it breaks off at byte {at + len(data)}")
    return data
