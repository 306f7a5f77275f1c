"""What a file says that decoding it takes, read from its first tags, chunks and boxes by our own few lines.

No library has seen the file before: some take memory for what a header states, and some never end. Nothing here holds
more of a file than a table of 16 MB, and all loops are bounded.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.domain.picture_limits import (
    ANY_PIXELS_PER_BYTE,
    DEFLATE_BOUND,
    JPEG_PIXELS_PER_BYTE,
    LZW_BOUND,
    PACKBITS_BOUND,
    Demand,
    PictureLimits,
    require_modest,
    too_many_parts,
    too_much_memory,
)
from dlcs_assets.pictures.header import unreadable
from dlcs_assets.pictures.jp2_structure import Jp2Structure
from dlcs_assets.pictures.tiff import choose_page

Content: TypeAlias = "bytes | mmap.mmap"

_CHUNKS: Final = 10_000  # besides those of the picture itself
_SCANS: Final = 500
_METADATA_BYTES: Final = 2**24
_TABLE_BYTES: Final = 16 * 2**20
_HEAD_BYTES: Final = 2**16
_DIMENSIONS: Final = 4096  # bytes within which a PNM states its size


@dataclass(frozen=True, slots=True)
class Gate:
    """What every file passes before a library reads it. `admit` returns once the memory may be taken."""

    limits: PictureLimits = field(default_factory=PictureLimits)
    admit: Callable[[Demand], None] = lambda _: None

    def let_in(self, demand: Demand, file_bytes: int) -> None:
        """Raise as `require_modest`, or return once there is memory for it."""
        require_modest(demand, file_bytes, self.limits)
        self.admit(demand)


def read_demand(source: Path | bytes, source_format: SourceFormat, max_frames: int) -> Demand:
    """Return what decoding a picture takes, JPEG 2000 apart (`jp2_demand`).

    Frames are counted up to `max_frames` and one more.
    Raises PermanentError `image_unreadable`, `too_many_parts` or `too_much_memory`.
    """
    media_type = source_format.media_type
    with _content(source) as content:
        try:
            return _READERS[media_type](content, max_frames)
        except (struct.error, IndexError, ValueError, ArithmeticError) as error:
            raise unreadable(media_type, f"its header is damaged ({error})") from error


def jp2_demand(structure: Jp2Structure, file_bytes: int, *, whole: bool, as_levels: bool = True) -> Demand:
    """Return what decoding a JP2 takes, of which the structure is known: `whole`, or at a small resolution.

    `as_levels`: what is decoded whole is made into levels of colours as well.
    """
    pixels = structure.width * structure.height
    # OpenJPEG keeps four bytes a sample, a state for each tile, and one for each block of samples.
    memory = file_bytes + structure.tiles * (6000 + 1200 * structure.components) + pixels // 4
    memory += pixels * (structure.components * 6 + (40 if as_levels else 0)) if whole else 2**26
    return Demand(
        structure.width, structure.height, structure.components, 1, structure.tiles + structure.packets, memory
    )


@contextmanager
def _content(source: Path | bytes) -> Iterator[Content]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        if source.stat().st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


# --- TIFF

_FORMS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES, _ROWS, _LENGTHS, _PLANAR = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
    284,
)
_COLOUR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS, _EXTRA, _XMP, _ICC = (
    320,
    322,
    323,
    324,
    325,
    338,
    700,
    34_675,
)
_NEW_SUBFILE, _SUBFILE = 254, 255
_NEEDED: Final = frozenset(
    {*(_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES, _ROWS, _LENGTHS)}
    | {_PLANAR, _COLOUR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS, _EXTRA, _XMP, _ICC}
)
_UNCOMPRESSED, _LZW, _OLD_JPEG, _JPEG = 1, 5, 6, 7
_DEFLATE: Final = frozenset({8, 32_946})
_FAX: Final = frozenset({2, 3, 4})
_PACKBITS: Final = 32_773
_BOUNDS: Final = {_UNCOMPRESSED: 1, _LZW: LZW_BOUND, _PACKBITS: PACKBITS_BOUND} | dict.fromkeys(_DEFLATE, DEFLATE_BOUND)
_PLAIN: Final = frozenset({0, 1, 2})  # photometric interpretations whose samples are averaged as they are
_PAGES_CHOSEN_FROM: Final = 64
_ROWS_AT_ONCE: Final = 256
_SLACK: Final = 2**24


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag: how many values, and where they are in the file."""

    kind: int
    count: int
    at: int


class _TiffPage:
    """A page's tags, with the defaults of TIFF 6.0."""

    def __init__(self, content: Content, order: str, tags: dict[int, _Tag]) -> None:
        self._content, self._order, self._tags = content, order, tags

    def number(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        found = self._tags.get(tag)
        if found is None or found.kind not in _FORMS or not found.count:
            return default
        return int(struct.unpack_from(self._order + _FORMS[found.kind], self._content, found.at)[0])

    def count(self, tag: int) -> int:
        """Return how many values a tag has."""
        return self._tags[tag].count if tag in self._tags else 0

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the values of a tag; of a table that is too large none."""
        found = self._tags.get(tag)
        if found is None or found.kind not in _FORMS or found.count * _SIZES[found.kind] > _TABLE_BYTES:
            return ()
        return struct.unpack_from(f"{self._order}{found.count}{_FORMS[found.kind]}", self._content, found.at)


def _tiff(content: Content, max_frames: int) -> Demand:
    order = "<" if content[:1] == b"I" else ">"
    big = content[2:4] in {b"+\0", b"\0+"}
    pages: list[_TiffPage] = []
    seen: set[int] = set()
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    while at and at not in seen and len(seen) <= max_frames:
        seen.add(at)
        tags, at = _directory(content, order, at, big=big)
        if len(pages) < _PAGES_CHOSEN_FROM:
            pages.append(_TiffPage(content, order, tags))
    if at in seen:
        raise ValueError("its directories lead back to one of them")
    if len(seen) > max_frames:
        return Demand(1, 1, frames=len(seen))
    if not pages:
        raise ValueError("it has no page")
    kinds = [
        (each.number(_NEW_SUBFILE, 0), each.number(_SUBFILE, 0), each.number(_WIDTH, 0) * each.number(_HEIGHT, 0))
        for each in pages
    ]
    return _page_demand(pages[choose_page(kinds)], len(content), len(seen))


def _directory(content: Content, order: str, at: int, *, big: bool) -> tuple[dict[int, _Tag], int]:
    """Return the tags of a directory that are needed, and where the next one is."""
    word, entry_bytes, inline = ("Q", 20, 8) if big else ("I", 12, 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, at)
    first = at + (8 if big else 2)
    if first + count * entry_bytes > len(content):
        raise ValueError("it ends in a directory")
    tags: dict[int, _Tag] = {}
    for entry in range(first, first + min(count, 2**16) * entry_bytes, entry_bytes):
        tag, kind, values = struct.unpack_from(order + "HH" + word, content, entry)
        if tag not in _NEEDED or tag in tags:
            continue
        length = values * _SIZES.get(kind, 1)
        start = entry + entry_bytes - inline
        if length > inline:
            (start,) = struct.unpack_from(order + word, content, start)
        # Profile and XMP may be cut off, and the picture whole; what is larger than the file is no such accident.
        if start + length > len(content) and (tag not in {_ICC, _XMP} or length > len(content)):
            raise ValueError(f"tag {tag} states {values} values, which are not in the file")
        tags[tag] = _Tag(kind, values, start)
    (following,) = struct.unpack_from(order + word, content, first + count * entry_bytes)
    return tags, following


def _page_demand(page: _TiffPage, file_bytes: int, frames: int) -> Demand:
    width, height, samples = page.number(_WIDTH, 0), page.number(_HEIGHT, 0), page.number(_SAMPLES, 1)
    if width < 1 or height < 1:
        raise ValueError("it has no pixels")
    bits, compression = page.number(_BITS, 1), page.number(_COMPRESSION, _UNCOMPRESSED)
    tiled = page.count(_TILE_OFFSETS) > 0
    if tiled:
        part = page.number(_TILE_WIDTH, 0), page.number(_TILE_HEIGHT, 0)
        parts = -(-width // max(1, part[0])) * -(-height // max(1, part[1]))
    else:
        part = width, min(height, page.number(_ROWS, height) or height)
        parts = -(-height // part[1])
    stated = page.count(_TILE_OFFSETS if tiled else _OFFSETS)
    lengths = page.values(_TILE_LENGTHS if tiled else _LENGTHS)
    if lengths and max(lengths) > file_bytes + _SLACK:
        raise ValueError(f"a strip or tile states {max(lengths)} bytes, and the file has {file_bytes}")
    together = samples if page.number(_PLANAR, 1) == 1 else 1
    row_by_row = compression == _UNCOMPRESSED and not tiled
    rows = min(part[1], _ROWS_AT_ONCE) if row_by_row else part[1]
    in_part = part[0] * rows * together
    # A strip or tile is decoded as a whole, of eight bits or more a sample; what is more than plain samples is made
    # into levels, pixel by pixel.
    plain = page.number(_PHOTOMETRIC, 1) in _PLAIN and not page.count(_EXTRA)
    memory = in_part * max(1, -(-bits // 8)) * 3 // 2 + (0 if plain else in_part * 16)
    per_byte, is_exact = _tiff_bound(compression, width, bits * samples)
    return Demand(
        width,
        height,
        samples,
        frames,
        max(parts * (1 if together == samples else samples), stated),
        memory + max(lengths, default=0),
        per_byte,
        is_exact,
    )


def _tiff_bound(compression: int, width: int, pixel_bits: int) -> tuple[float, bool]:
    """Return how many pixels a byte can stand for, and whether that is exact."""
    if compression in {_OLD_JPEG, _JPEG}:
        return JPEG_PIXELS_PER_BYTE, True
    if compression in _FAX:
        return 8 * width, True  # a bit for each row
    bound = _BOUNDS.get(compression)
    return (bound * 8 / max(1, pixel_bits), True) if bound else (ANY_PIXELS_PER_BYTE, False)


# --- PNG

_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_CHUNK: Final = struct.Struct(">I4s")
_COMPRESSED_AT: Final = {b"iCCP": 2, b"zTXt": 2, b"iTXt": 3}


def _png(content: Content, _max_frames: int) -> Demand:
    width, height, bits, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    samples, frames, others, at = _PNG_SAMPLES.get(kind, 4), 1, 0, 8
    while at + 8 <= len(content):
        length, name = _CHUNK.unpack_from(content, at)
        if name != b"IDAT":
            others += 1
            if others > _CHUNKS:
                raise too_many_parts(f"more than {_CHUNKS} chunks of metadata")
        if name in _COMPRESSED_AT:
            _require_little_metadata(name, content[at + 8 : at + 8 + length])
        elif name == b"acTL":
            (frames,) = struct.unpack_from(">I", content, at + 8)
        elif name == b"IEND":
            break
        at += 12 + length
    pixel_bits = max(1, bits * samples)
    memory = width * height * max(1, -(-pixel_bits // 8)) * 2 if interlaced else 0
    return Demand(width, height, samples, frames, 1, memory, DEFLATE_BOUND * 8 / pixel_bits, is_exact=True)


def _require_little_metadata(name: bytes, chunk: bytes) -> None:
    """Unpack a chunk of metadata as far as is allowed."""
    # Behind a keyword; in international text, two bytes say whether it is packed, and two more texts follow.
    start = chunk.find(b"\0") + 2
    if name == b"iTXt":
        if chunk[start - 1 : start] != b"\1":
            return
        start = chunk.find(b"\0", chunk.find(b"\0", start + 1) + 1) + 1
    try:
        unpacked = zlib.decompressobj().decompress(chunk[start:], _METADATA_BYTES + 1)
    except zlib.error:
        return  # which turns no picture
    if len(unpacked) > _METADATA_BYTES:
        raise too_much_memory(f"The image has metadata ({name.decode()}) of more than {_METADATA_BYTES >> 20} MB")


# --- JPEG

_FRAME_MARKERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # the last is JPEG-LS
_HUFFMAN: Final = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN: Final = re.compile(rb"\xff\xda")


def _jpeg(content: Content, _max_frames: int) -> Demand:
    at = 2
    while True:
        while content[at] == 0xFF and content[at + 1] == 0xFF:  # noqa: PLR2004 (fill bytes)
            at += 1
        if content[at] != 0xFF:  # noqa: PLR2004 (every marker begins so)
            raise ValueError(f"there is no marker at byte {at}")
        marker = content[at + 1]
        if marker in _FRAME_MARKERS:
            break
        if marker in {0xD9, 0xDA}:
            raise ValueError("it does not state its size")
        at += 2 if marker in _ALONE else 2 + int(struct.unpack_from(">H", content, at + 2)[0])
    height, width, samples = struct.unpack_from(">HHB", content, at + 5)
    # Entropy-coded data has no such marker; thumbnails in the metadata may.
    for number, _ in enumerate(_SCAN.finditer(content)):
        if number >= _SCANS:
            raise too_many_parts(f"more than {_SCANS} scans")
    memory = width * height * samples * 3 if marker in _PROGRESSIVE else 0
    exact = marker in _HUFFMAN
    return Demand(
        width,
        height,
        samples,
        1,
        1,
        memory,
        JPEG_PIXELS_PER_BYTE if exact else ANY_PIXELS_PER_BYTE,
        is_exact=exact,
    )


# --- GIF, WebP, AVIF


def _gif(content: Content, max_frames: int) -> Demand:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at, frames = 13 + _palette_bytes(flags), 0
    while at < len(content) and content[at] != 0x3B:  # noqa: PLR2004 (the trailer)
        if content[at] == 0x2C:  # noqa: PLR2004 (an image)
            frames += 1
            if frames > max_frames or at + 9 >= len(content):
                break
            left, top, across, down, flags = struct.unpack_from("<4HB", content, at + 1)
            width, height = max(width, left + across), max(height, top + down)
            at += 10 + _palette_bytes(flags) + 1
        else:
            at += 2
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return Demand(width, height, 1, max(frames, 1), 1, width * height * 12, LZW_BOUND, is_exact=True)


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(content: Content, max_frames: int) -> Demand:
    size: tuple[int, int] = (0, 0)
    frames, at = 0, 12
    while at + 8 <= len(content) and frames <= max_frames:
        kind, length = struct.unpack_from("<4sI", content, at)
        found = _webp_size(kind, content, at + 8)
        size = max(size[0], found[0]), max(size[1], found[1])
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    # An animation has two canvases, and the frame.
    return Demand(*size, 4, max(frames, 1), 1, size[0] * size[1] * (20 if frames else 12))


def _webp_size(kind: bytes, content: Content, at: int) -> tuple[int, int]:
    match kind:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", content, at + 6)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (packed,) = struct.unpack_from("<I", content, at + 1)
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _three(content, at + 4) + 1, _three(content, at + 7) + 1
        case b"ANMF":
            return _three(content, at + 6) + 1, _three(content, at + 9) + 1
        case _:
            return 0, 0


def _three(content: Content, at: int) -> int:
    return int.from_bytes(content[at : at + 3], "little")


_EXTENTS: Final = re.compile(rb"ispe\0\0\0\0(....)(....)", re.DOTALL)


def _avif(content: Content, _max_frames: int) -> Demand:
    sizes = [tuple(int.from_bytes(edge, "big") for edge in found) for found in _EXTENTS.findall(content[:_HEAD_BYTES])]
    if not sizes:
        raise ValueError("it does not state its size")
    width, height = max(edge for edge, _ in sizes), max(edge for _, edge in sizes)
    return Demand(width, height, 4, 1, 1, width * height * 20)


# --- BMP, PNM


def _bmp(content: Content, _max_frames: int) -> Demand:
    (header,) = struct.unpack_from("<I", content, 14)
    if header == 12:  # noqa: PLR2004 (of OS/2)
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    width, height = abs(width), abs(height)
    raw = compression in {0, 3}
    per_byte = 8 / max(1, bits) if raw else ANY_PIXELS_PER_BYTE
    return Demand(width, height, 3, 1, 1, width * height * 16, per_byte, is_exact=raw)


_PNM: Final = re.compile(rb"P([1-6])(?:\s|#[^\n]*\n)+(\d{1,10})(?:\s|#[^\n]*\n)+(\d{1,10})\s")


def _pnm(content: Content, _max_frames: int) -> Demand:
    found = _PNM.match(content[:_DIMENSIONS])
    if found is None:
        raise ValueError(f"it does not state its size within {_DIMENSIONS} bytes")
    kind, width, height = found[1], int(found[2]), int(found[3])
    # A digit for each pixel of a bitmap in text; a bit for each of one in bytes.
    per_byte = 8 if kind == b"4" else 1
    return Demand(width, height, 3, 1, 1, width * height * 24, per_byte, is_exact=True)


_READERS: Final[dict[str, Callable[[Content, int], Demand]]] = {
    "image/tiff": _tiff,
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/avif": _avif,
    "image/bmp": _bmp,
    "image/x-portable-anymap": _pnm,
}
