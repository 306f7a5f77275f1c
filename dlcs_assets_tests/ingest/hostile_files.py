"""Files that mean harm, or are as broken as if they did, made here: name, bytes, and the code that each ends in."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from dlcs_testing.pictures import drawing, encoded

UNREADABLE = frozenset({"image_unreadable", "conversion_failed"})
NO_IMAGE = frozenset({"not_an_image"})
NOT_READ = frozenset({"image_unsupported"})
TOO_LARGE = frozenset({"too_many_pixels", "too_few_bytes"})


@dataclass(frozen=True)
class File:
    """A file, the codes with one of which it fails, and what its server says that it is."""

    name: str
    data: bytes
    codes: frozenset[str]
    media_type: str = "image/tiff"


def files() -> Iterator[File]:
    """Return all of them."""
    yield from _others()
    yield from _bombs()
    yield from _broken()


def _others() -> Iterator[File]:
    html = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
    external = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    laughs = (
        b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "' + b"a" * 999 + b'">' + b'<!ENTITY b "&a;&a;">]><svg>&b;</svg>'
    )
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../etc/passwd", b"x" * 10_000)
    with tarfile.open(fileobj=tarred, mode="w") as archive_of_tapes:
        archive_of_tapes.addfile(tarfile.TarInfo("../x"))
    yield File("html", html, NO_IMAGE, "image/jpeg")
    yield File("text", b"This is no picture.\n" * 50, NO_IMAGE)
    yield File("svg that reads a file", external, NOT_READ, "image/svg+xml")
    yield File("svg of a thousand laughs", laughs, NOT_READ, "image/svg+xml")
    yield File("postscript that reads a file", postscript, NO_IMAGE, "image/x-eps")
    yield File("pdf", b"%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>endobj", NO_IMAGE)
    yield File("zip with a path upwards", zipped.getvalue(), NO_IMAGE)
    yield File("tar with a path upwards", tarred.getvalue(), NO_IMAGE)
    yield File("gzip of a picture", gzip.compress(encoded(drawing(60, 40))), NO_IMAGE, "image/jpeg")
    yield File("program for Linux", b"\x7fELF\x02\x01\x01" + bytes(500), NO_IMAGE)
    yield File("program for Windows", b"MZ\x90\x00" + bytes(500), NO_IMAGE)
    yield File("shell script", b"#!/bin/sh\nrm -rf /\n", NO_IMAGE)
    yield File(
        "ImageMagick's own language", b"push graphic-context\nimage over 0,0 0,0 'msl:/x'\n", NO_IMAGE, "image/x-mvg"
    )
    yield File("zeros", bytes(5000), NO_IMAGE)
    yield File("noise", zlib.compress(bytes(range(256)) * 64)[2:], NO_IMAGE)
    yield File("film", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(99), NO_IMAGE, "image/avif")


def _bombs() -> Iterator[File]:
    yield File("png of 30,000 x 30,000", _png(30_000, 30_000), TOO_LARGE, "image/png")
    yield File("png of 2**31 - 1 squared", _png(2**31 - 1, 2**31 - 1), TOO_LARGE, "image/png")
    yield File("jpeg of 65,500 squared", _jpeg_of(65_500, 65_500), TOO_LARGE, "image/jpeg")
    yield File("tiff of 60,000 squared", _tiff(60_000, 60_000), TOO_LARGE)
    yield File("bmp of 100,000 squared", _bmp(100_000, 100_000), TOO_LARGE | UNREADABLE, "image/bmp")
    yield File("gif of 65,535 squared", _gif(65_535, 65_535), TOO_LARGE, "image/gif")
    yield File("webp of 16,383 squared", _webp(), TOO_LARGE | UNREADABLE, "image/webp")
    yield File(
        "jp2 of 4,000,000 squared", _jp2_of(4_000_000, 4_000_000), TOO_LARGE | UNREADABLE | {"jp2_broken"}, "image/jp2"
    )


def _broken() -> Iterator[File]:
    for kind in ("JPEG", "PNG", "TIFF", "JPEG2000", "WEBP", "GIF", "BMP"):
        data = encoded(drawing(240, 160), kind)
        codes = UNREADABLE | {"jp2_broken"}
        yield File(f"half a {kind.lower()}", data[: len(data) // 2], codes)
        yield File(f"the first 20 bytes of a {kind.lower()}", data[:20], codes | NO_IMAGE)
    good = encoded(drawing(240, 160), "TIFF")
    offset = struct.unpack("<I", good[4:8])[0]
    yield File("tiff whose directory is beyond its end", good[:4] + struct.pack("<I", 2**32 - 9) + good[8:], UNREADABLE)
    yield File("tiff whose strips are beyond its end", _with_tag(good, offset, 273, 2**31), UNREADABLE)
    yield File("tiff of 60,000 samples a pixel", _with_tag(good, offset, 277, 60_000), frozenset({"too_many_parts"}))
    yield File("tiff of an unknown compression", _with_tag(good, offset, 259, 54_321), UNREADABLE)
    yield File("tiff without a directory", good[:4] + struct.pack("<I", 8) + bytes(8), UNREADABLE)
    png = encoded(drawing(240, 160), "PNG")
    yield File("png with a damaged picture", png[:60] + bytes(40) + png[100:], UNREADABLE, "image/png")
    yield File(
        "jpeg without tables", b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(99) + b"\xff\xd9", UNREADABLE
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(200_000), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _jpeg_of(width: int, height: int) -> bytes:
    data = encoded(drawing(64, 48))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def _tiff(width: int, height: int) -> bytes:
    data = encoded(drawing(64, 48), "TIFF")
    offset = struct.unpack("<I", data[4:8])[0]
    return _with_tag(_with_tag(data, offset, 256, width), offset, 257, height)


def _with_tag(data: bytes, offset: int, tag: int, value: int) -> bytes:
    (count,) = struct.unpack_from("<H", data, offset)
    changed = bytearray(data)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HHII", changed, entry, tag, 4, 1, value)
    return bytes(changed)


def _bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    )


def _gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b",\0\0\0\0"
        + struct.pack("<HHB", width, height, 0)
        + b"\x02\x02L\x01\x00;"
    )


def _webp() -> bytes:
    data = bytearray(encoded(drawing(64, 48), "WEBP"))
    at = data.index(b"\x9d\x01\x2a") + 3
    struct.pack_into("<HH", data, at, 16_383, 16_383)
    return bytes(data) if len(data) > at else b""


def _jp2_of(width: int, height: int) -> bytes:
    data = bytearray(encoded(drawing(64, 48), "JPEG2000"))
    struct.pack_into(">II", data, data.index(b"ihdr") + 4, height, width)
    size = data.index(b"\xff\x51")
    struct.pack_into(">II", data, size + 6, width, height)
    struct.pack_into(">II", data, size + 22, width, height)
    return bytes(data)
