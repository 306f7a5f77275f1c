"""Bombs: files and messages that ask for much more memory or time than they have bytes, each drawn here.

None is larger than two megabytes. What each has to end in is in the code or codes next to it.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from dlcs_testing.installation import Installation, full_message
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.raw_jp2 import box
from dlcs_testing.raw_tiff import LONG, SHORT, UNDEFINED, RawPage, raw_tiff

PIXELS = frozenset({"too_many_pixels"})
BYTES = frozenset({"too_few_bytes"})
PARTS = frozenset({"too_many_parts"})
MEMORY = frozenset({"too_much_memory"})
BROKEN = frozenset({"image_unreadable", "jp2_broken"})
OTHER = frozenset({"not_an_image"})
UNSUPPORTED = frozenset({"image_unsupported"})
REJECTED = frozenset(
    {"not_json", "not_an_object", "unknown_form", "field_malformed", "asset_id_malformed", "asset_id_too_long"}
    | {"duplicate_channel", "unknown_channel"}
)

CHANNELS = "iiif-img:default,thumbs:default"
# Bombs that are valid pictures of 39 megapixels fit into the first, and most not into the second.
LIMITS = {"max_pixels": 40_000_000, "decoder_memory": 2**27, "origin_max_bytes": 200_000_000}

_ZERO_STRIP = 1 << 20
_SMALL = 64


@dataclass(frozen=True)
class Bomb:
    """A file that bears a bomb: what draws it, the codes with one of which it fails, and its media type.

    `encoding`: the Content-Encoding by which its origin sends it.
    """

    name: str
    draw: Callable[[], bytes]
    codes: frozenset[str]
    media_type: str = "image/tiff"
    encoding: str | None = None


@dataclass(frozen=True)
class MessageBomb:
    """A body of a message, and the codes with one of which it is rejected."""

    name: str
    draw: Callable[[], str]
    codes: frozenset[str] = REJECTED


def bombs() -> tuple[Bomb, ...]:
    """Return all that are files."""
    return (*_tiffs(), *_pngs(), *_jpegs(), *_jp2s(), *_others(), *_wrapped())


def message_bombs() -> tuple[MessageBomb, ...]:
    """Return all that are messages."""
    deep, many = 100_000, 50_000
    return (
        MessageBomb("message of 100,000 nested lists", lambda: "[" * deep + "]" * deep),
        MessageBomb("message of 50,000 nested objects", lambda: '{"asset":' * many + "1" + "}" * many),
        MessageBomb("message of one number with 200,000 digits", lambda: '{"id":' + "9" * 200_000 + "}"),
        MessageBomb(
            "message with 20,000 delivery channels",
            lambda: json.dumps(
                {
                    "asset": {
                        "id": "2/1/channels",
                        "origin": "https://example.org/x",
                        "deliveryChannels": [{"channel": "iiif-img", "policy": "default"}] * 20_000,
                    }
                }
            ),
        ),
        MessageBomb("message in 16 envelopes, one in the other", _enveloped),
        MessageBomb(
            "message of a billion laughs",
            lambda: (
                '<?xml version="1.0"?><!DOCTYPE l ['
                + "".join(f'<!ENTITY l{at + 1} "{f"&l{at};" * 10}">' for at in range(9))
                + "]><l>&l9;</l>"
            ),
        ),
    )


def send_bombs(installation: Installation, wanted: Sequence[Bomb], *, customer: int = 2) -> dict[str, Bomb]:
    """Register a bomb for each image; return them by the images' ids."""
    sent = {}
    for number, bomb in enumerate(wanted):
        image = f"{customer}/1/bomb-{number}"
        headers = [("Content-Type", bomb.media_type)]
        if bomb.encoding:
            headers.append(("Content-Encoding", bomb.encoding))
        url = installation.serve(f"bomb-{number}", bomb.draw(), headers=tuple(headers))
        installation.send(full_message(image, url, CHANNELS))
        sent[image] = bomb
    return sent


def send_good(installation: Installation, count: int, *, customer: int = 2, edge: int = 120) -> list[str]:
    """Register good images; return their ids."""
    images = [f"{customer}/1/good-{number}" for number in range(count)]
    for number, image in enumerate(images):
        url = installation.serve(f"good-{number}.jpg", jpeg(edge, edge - 30 + number))
        installation.send(full_message(image, url, CHANNELS))
    return images


# --- TIFF


def _tiffs() -> Iterator[Bomb]:
    edge = 60_000
    yield Bomb("tiff of 122 bytes and 7,000 x 5,700 pixels", _tiny_tiff, BYTES)
    yield Bomb("tiff of 60,000 x 60,000", lambda: _tiff(edge, edge, 1, [bytes(9)]), PIXELS)
    compressions = {"LZW": 5, "deflate": 8, "PackBits": 32_773, "LZMA": 34_925, "Zstandard": 50_000}
    for name, number in compressions.items():
        yield Bomb(f"tiff, one strip, {name}", partial(_one_strip, number), BYTES | MEMORY)
    yield Bomb("tiff, CCITT group 4", lambda: _tiff(6000, 6000, 4, [bytes(40)], bits=[1], photometric=0), BYTES)
    yield Bomb("tiff with a JPEG of another size in it", _jpeg_tiff, BYTES | MEMORY | BROKEN)
    yield Bomb("tiff with a WebP of 16,383 x 16,383 in it", _webp_tiff, BYTES | MEMORY | BROKEN)
    yield Bomb("tiff, one tile of 60,000 x 60,000", lambda: _tiled(_SMALL, edge - edge % 16, 1), MEMORY)
    yield Bomb("tiff with 9 million tiles", lambda: _tiled(6000, 16, 9_000_000), PARTS | BROKEN)
    yield Bomb("tiff with 30 million rows, each a strip", _many_rows, PARTS | BYTES)
    yield Bomb("tiff whose directory follows itself", lambda: _chained([8]), BROKEN)
    yield Bomb("tiff whose directories follow one another in a ring", lambda: _chained([8, 8 + 18 * 3]), BROKEN)
    yield Bomb("tiff of 12,000 pages", _many_pages, PARTS)
    yield Bomb("tiff with a tag of 4 billion values", lambda: _with_tag(258, SHORT, 2**32 - 1), BROKEN)
    yield Bomb("tiff with a profile of 2 GB", lambda: _with_tag(34_675, UNDEFINED, 2**31), BROKEN)
    yield Bomb("tiff with a strip of 4 GB", lambda: _with_tag(279, LONG, 1, 2**32 - 1), BROKEN)
    yield Bomb("tiff with 4 billion strips", lambda: _with_tag(273, LONG, 2**32 - 1), PARTS | BROKEN)
    yield Bomb("bigtiff with a tag of 2**60 values", _big_tag, BROKEN)
    yield Bomb("tiff of 65,535 samples a pixel", lambda: _with_tag(277, SHORT, 1, 65_535), PARTS)
    yield Bomb("tiff whose strips are all the same bytes", _same_strips, BYTES)


def _tiff(
    width: int,
    height: int,
    compression: int,
    strips: list[bytes],
    *,
    bits: list[int] | None = None,
    photometric: int = 2,
) -> bytes:
    tags = {259: (SHORT, [compression])}
    return raw_tiff(RawPage(width, height, bits or [8, 8, 8], photometric, strips, tags))


def _tiny_tiff() -> bytes:
    entries = {256: 7000, 257: 5700, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: 5700, 279: 9}
    directory = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)


@cache
def _zeros_deflated(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(_ZERO_STRIP)) for _ in range(megabytes)) + packer.flush()


def _one_strip(compression: int) -> bytes:
    """Return 39 million pixels in one strip: 117 MB."""
    import imagecodecs

    match compression:
        case 5:
            strip = bytes(imagecodecs.lzw_encode(bytes(30 * _ZERO_STRIP)))
        case 8:
            strip = _zeros_deflated(112)
        case 32_773:
            strip = b"\x81\0" * (60 * _ZERO_STRIP // 128)  # 128 times a zero
        case 34_925:
            strip = bytes(imagecodecs.lzma_encode(bytes(16 * _ZERO_STRIP), level=0))
        case _:
            strip = bytes(imagecodecs.zstd_encode(bytes(112 * _ZERO_STRIP)))
    return _tiff(6240, 6240, compression, [strip])


def _jpeg_tiff() -> bytes:
    return _tiff(6000, 6000, 7, [_jpeg(65_500, 65_500)], photometric=6)


def _webp_tiff() -> bytes:
    return _tiff(6000, 6000, 50_001, [_webp(16_383, 16_383)])


def _tiled(edge: int, tile: int, tiles: int) -> bytes:
    data = bytearray(raw_tiff(RawPage(edge * (tiles > 1) * 8 or edge, edge, [8], 1, [bytes(9)], tile=tile)))
    if tiles > 1:
        for tag in (324, 325):
            _patch(data, tag, LONG, tiles, 8)
    return bytes(data)


def _many_rows() -> bytes:
    tags = {259: (SHORT, [8]), 278: (LONG, [1])}
    return raw_tiff(RawPage(1, 30_000_000, [8], 1, [bytes(9)], tags))


def _chained(links: list[int]) -> bytes:
    data = b"II*\0" + struct.pack("<I", 8)
    for number in range(len(links)):
        following = links[(number + 1) % len(links)]
        data += struct.pack("<HHHIII", 1, 254, LONG, 1, 1, following)
        data = data.ljust(links[number + 1], b"\0") if number + 1 < len(links) else data
    return data


def _many_pages() -> bytes:
    count, size = 12_000, 18
    starts = range(8, 8 + size * count, size)
    pages = (struct.pack("<HHHIII", 1, 254, LONG, 1, 1, at + size) for at in starts)
    return b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + bytes(6)


def _with_tag(tag: int, kind: int, count: int, value: int = 8) -> bytes:
    tags = {34_675: (UNDEFINED, [0] * 8)}
    data = bytearray(raw_tiff(RawPage(240, 160, [8, 8, 8], 2, [bytes(240 * 160 * 3)], tags)))
    _patch(data, tag, kind, count, value)
    return bytes(data)


def _patch(data: bytearray, tag: int, kind: int, count: int, value: int) -> None:
    """Change an entry of the first directory."""
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HHII", data, entry, tag, kind, count, value)
            return
    raise AssertionError(f"there is no tag {tag}")


def _big_tag() -> bytes:
    data = bytearray(raw_tiff(RawPage(240, 160, [8, 8, 8], 2, [bytes(240 * 160 * 3)]), big=True))
    (at,) = struct.unpack_from("<Q", data, 8)
    (entries,) = struct.unpack_from("<Q", data, at)
    for entry in range(at + 8, at + 8 + 20 * entries, 20):
        if struct.unpack_from("<H", data, entry)[0] == 258:
            struct.pack_into("<HHQQ", data, entry, 258, SHORT, 2**60, 16)
    return bytes(data)


def _same_strips() -> bytes:
    rows = 1000
    strip = zlib.compress(bytes(6000 * rows // 1000 * 3), 9)
    count = 6000
    data = bytearray(raw_tiff(RawPage(6000, 6000, [8, 8, 8], 2, [strip], {259: (SHORT, [8]), 278: (LONG, [1])})))
    for tag, value in ((273, 8), (279, len(strip))):
        at = len(data)
        data += struct.pack(f"<{count}I", *[value] * count)
        _patch(data, tag, LONG, count, at)
    return bytes(data)


# --- PNG


def _pngs() -> Iterator[Bomb]:
    png = "image/png"
    yield Bomb("png of 30,000 x 30,000", lambda: _png(30_000, 30_000), PIXELS, png)
    yield Bomb("png of 2**31 - 1 squared", lambda: _png(2**31 - 1, 2**31 - 1), PIXELS, png)
    yield Bomb("png of 6,000 x 6,000 in 300 bytes", lambda: _png(6000, 6000), BYTES, png)
    yield Bomb("png, interlaced", lambda: _png(6240, 6240, 8, 6, interlaced=1, rows=112), MEMORY, png)
    yield Bomb(
        "png with a text of 100 MB", lambda: _png(60, 40, 8, 2, more=_text(b"zTXt", b"Comment\0\0")), MEMORY, png
    )
    yield Bomb("png with a profile of 100 MB", lambda: _png(60, 40, 8, 2, more=_text(b"iCCP", b"icc\0\0")), MEMORY, png)
    yield Bomb(
        "png with an international text of 100 MB",
        lambda: _png(60, 40, 8, 2, more=_text(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0")),
        MEMORY,
        png,
    )
    yield Bomb("png of 30,000 chunks", lambda: _png(60, 40, 8, 2, more=_chunk(b"tEXt", b"a\0") * 30_000), PARTS, png)
    yield Bomb(
        "png of 2**31 - 1 frames",
        lambda: _png(60, 40, 8, 2, more=_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        PARTS,
        png,
    )


def _png(
    width: int, height: int, bits: int = 1, colours: int = 0, *, interlaced: int = 0, rows: int = 0, more: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)
    data = _zeros_deflated(rows) if rows else zlib.compress(bytes(200_000), 9)
    if width == 60:
        data = zlib.compress(bytes((1 + 60 * 3) * 40), 9)
    chunks = (_chunk(b"IHDR", header), more, _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text(kind: bytes, before: bytes) -> bytes:
    return _chunk(kind, before + _zeros_deflated(112))


# --- JPEG


def _jpegs() -> Iterator[Bomb]:
    kind = "image/jpeg"
    yield Bomb("jpeg of 65,500 x 65,500", lambda: _jpeg(65_500, 65_500), PIXELS, kind)
    yield Bomb("jpeg of 6,000 x 6,000 in 2 KB", lambda: _jpeg(6000, 6000), BYTES, kind)
    yield Bomb("jpeg, progressive, of 6,000 x 6,000 in 2 KB", lambda: _jpeg(6000, 6000, progressive=True), BYTES, kind)
    yield Bomb("jpeg of 2,000 scans", _many_scans, PARTS, kind)
    yield Bomb("jpeg, cut off, of 3,000 x 3,000", lambda: _jpeg(3000, 3000), BROKEN | BYTES, kind)


def _jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    data = encoded(drawing(_SMALL, 48), progressive=progressive)
    start = b"\xff\xc2" if progressive else b"\xff\xc0"
    at = data.index(start) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def _many_scans() -> bytes:
    data = encoded(drawing(1200, 900), progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last : data.rindex(b"\xff\xd9")]
    short = scan[: 2 + struct.unpack_from(">H", scan, 2)[0]] + b"\x00"
    return data[:-2] + short * 2000 + b"\xff\xd9"


# --- JPEG 2000


def _jp2s() -> Iterator[Bomb]:
    kind = "image/jp2"
    yield Bomb("jp2 of 4,000,000 x 4,000,000", lambda: _jp2(4_000_000, 4_000_000), PIXELS | BYTES, kind)
    yield Bomb("jp2 of 6,000 x 6,000 in 200 bytes", lambda: _jp2(6000, 6000), BYTES, kind)
    yield Bomb("jp2 of 16,384 components", lambda: _jp2(_SMALL, _SMALL, components=16_384), PARTS, kind)
    yield Bomb("jp2 of 65,535 tiles", lambda: _jp2(65_535, 1, tile=1), PARTS | BROKEN, kind)
    yield Bomb("jp2 of 36 million tiles", lambda: _jp2(6000, 6000, tile=1), PARTS | BROKEN, kind)
    yield Bomb("jp2 of precincts of a pixel", lambda: _jp2(4000, 4000, precinct=0), PARTS, kind)
    yield Bomb("jp2 of 65,535 layers in precincts", lambda: _jp2(4000, 4000, precinct=6, layers=65_535), PARTS, kind)
    yield Bomb("jp2 whose table of packet lengths has no end", lambda: _jp2(_SMALL, _SMALL, plt=b"\x80"), BROKEN, kind)
    yield Bomb("jp2 with a box of 2**63 bytes", lambda: _jp2(_SMALL, _SMALL, boxes=_long_box()), BROKEN, kind)
    yield Bomb("jp2 with 30,000 boxes", lambda: _jp2(_SMALL, _SMALL, boxes=box(b"free", b"") * 30_000), BROKEN, kind)
    yield Bomb("codestream of 60,000 x 60,000", lambda: _codestream(60_000, 60_000), PIXELS | BYTES, kind)


def _jp2(width: int, height: int, *, components: int = 3, boxes: bytes = b"", **options: object) -> bytes:
    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, 7, 7, 0, 0))
    header += box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16))
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header)
    return start + boxes + box(b"jp2c", _codestream(width, height, components, **options))  # type: ignore[arg-type] # as named


def _codestream(
    width: int,
    height: int,
    components: int = 3,
    *,
    tile: int | None = None,
    precinct: int | None = None,
    layers: int = 1,
    plt: bytes = b"",
) -> bytes:
    across, down = tile or width, tile or height
    size = struct.pack(">H8IH", 0, width, height, 0, 0, across, down, 0, 0, components) + b"\7\1\1" * components
    levels = 5
    precincts = b"" if precinct is None else bytes([precinct | precinct << 4]) * (levels + 1)
    coding = struct.pack(">BBHBBBBBB", precinct is not None, 2, layers, 0, levels, 4, 4, 0, 1) + precincts
    quantisation = b"\x40" + b"\x48" * (3 * levels + 1)
    segments = ((0x51, size), (0x52, coding), (0x5C, quantisation))
    main = b"\xff\x4f" + b"".join(
        b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(body)) + body for marker, body in segments
    )
    table = b"\xff\x58" + struct.pack(">HB", 3 + len(plt), 0) + plt if plt else b""
    packets = bytes(18)
    length = 12 + len(table) + 2 + len(packets)
    part = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, length, 0, 1) + table + b"\xff\x93" + packets
    return main + part + b"\xff\xd9"


def _long_box() -> bytes:
    return struct.pack(">I4sQ", 1, b"free", 2**63 - 1)


# --- GIF, WebP, AVIF, BMP, PPM


def _others() -> Iterator[Bomb]:
    gif, webp, avif, bmp, ppm = "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-portable-anymap"
    yield Bomb("gif of 65,535 x 65,535", lambda: _gif(65_535, 65_535), PIXELS, gif)
    yield Bomb("gif of 6,000 x 6,000 in 30 bytes", lambda: _gif(6000, 6000), BYTES, gif)
    yield Bomb("gif of 12,000 frames", lambda: _gif(60, 40, frames=12_000), PARTS, gif)
    yield Bomb("webp of 16,383 x 16,383", lambda: _webp(16_383, 16_383), PIXELS, webp)
    yield Bomb("webp of 6,000 x 6,000 in 40 bytes", lambda: _webp(6000, 6000), BYTES, webp)
    yield Bomb("webp on a canvas of 16,777,216 x 255", lambda: _animated(2**24, 255, 1), PIXELS, webp)
    yield Bomb("webp of 12,000 frames", lambda: _animated(_SMALL, 48, 12_000), PARTS, webp)
    yield Bomb("avif of 65,536 x 65,536", lambda: _avif(65_536, 65_536), PIXELS, avif)
    yield Bomb("avif of 6,000 x 6,000 in 500 bytes", lambda: _avif(6000, 6000), BYTES | BROKEN | MEMORY, avif)
    yield Bomb("bmp of 100,000 x 100,000", lambda: _bmp(100_000, 100_000, 24, 0), PIXELS, bmp)
    yield Bomb("bmp of 6,000 x 6,000, run length", lambda: _bmp(6000, 6000, 8, 1), BYTES, bmp)
    yield Bomb("ppm of 60,000 x 60,000", lambda: b"P6 60000 60000 255\n" + bytes(99), PIXELS, ppm)
    yield Bomb("ppm of 6,000 x 6,000 in 100 bytes", lambda: b"P6 6000 6000 255\n" + bytes(99), BYTES, ppm)
    yield Bomb("ppm whose comment does not end", lambda: b"P5\n#" + b"x" * 200_000, BROKEN, ppm)


def _gif(width: int, height: int, frames: int = 1) -> bytes:
    palette = bytes(6)
    frame = b",\0\0\0\0" + struct.pack("<HHB", width, height, 0) + b"\x02\x02L\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + palette + frame * frames + b";"


def _webp(width: int, height: int) -> bytes:
    data = bytearray(encoded(drawing(_SMALL, 48), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    struct.pack_into("<I", data, at, width - 1 | height - 1 << 14)
    return bytes(data)


def _animated(width: int, height: int, frames: int) -> bytes:
    still = encoded(drawing(1, 1), "WEBP", lossless=True)
    image = still[still.index(b"VP8L") :]
    edges = bytes(6)  # one less than they are
    frame = _riff(b"ANMF", bytes(6) + edges + struct.pack("<I", 100)[:3] + b"\0" + image)
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = _riff(b"VP8X", b"\x02\0\0\0" + canvas) + _riff(b"ANIM", bytes(6))
    return _riff(b"RIFF", b"WEBP" + body + frame * frames)


def _riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _avif(width: int, height: int) -> bytes:
    data = bytearray(encoded(drawing(_SMALL, 48), "AVIF"))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, width, height)
    return bytes(data)


def _bmp(width: int, height: int, bits: int, compression: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 2 if bits == 8 else 0, 0)
    palette = bytes(8) if bits == 8 else b""
    return b"BM" + struct.pack("<IHHI", 99, 0, 0, 54 + len(palette)) + info + palette + b"\xff\0" * 20 + b"\0\1"


# --- In something else


def _wrapped() -> Iterator[Bomb]:
    png = "image/png"
    yield Bomb("zip of zeros", _zipped, OTHER)
    yield Bomb("gzip of 400 MB, as it is", lambda: _gzipped(400), OTHER)
    yield Bomb("gzip of 400 MB, as its encoding", lambda: _gzipped(400), frozenset({"origin_too_large"}), png, "gzip")
    yield Bomb(
        "gzip in a gzip, as its encoding", lambda: gzip.compress(_gzipped(400), 1), OTHER | UNSUPPORTED, png, "gzip"
    )
    yield Bomb("svg of a billion laughs", _laughs, UNSUPPORTED, "image/svg+xml")


def _zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open("x", "w") as inner:
        for _ in range(20):
            inner.write(bytes(_ZERO_STRIP))
    return file.getvalue()


@cache
def _gzipped(megabytes: int) -> bytes:
    # A member for each megabyte: made once, and each is unpacked.
    return gzip.compress(bytes(_ZERO_STRIP), 9) * megabytes


def _laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{at + 1} "{f"&l{at};" * 10}">' for at in range(9))
    return (
        f'<?xml version="1.0"?><!DOCTYPE svg [{entities}]><svg xmlns="http://www.w3.org/2000/svg">&l9;</svg>'.encode()
    )


def _enveloped() -> str:
    body = "{}"
    for _ in range(12):
        body = json.dumps({"Type": "Notification", "Message": body})
    return body
