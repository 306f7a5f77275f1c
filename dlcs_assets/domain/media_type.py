"""What kind of file it is: by its first bytes, never by its name or by what a header claims."""

from __future__ import annotations

import codecs
import mimetypes
import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """A format. `is_image`: ingest takes it as a picture. `is_jp2`: it may be stored as the JP2 as it is."""

    media_type: str
    is_image: bool = False
    is_jp2: bool = False


def sniff(head: bytes) -> SourceFormat | None:
    """Return the format that a file's first bytes show; 64 KB are enough, 1 KB mostly. None: not known."""
    return _jpeg_2000(head) or _by_signature(head) or _iso_media(head) or _markup(head) or _text(head)


def declared_type(media_type: str | None) -> str | None:
    """Return a media type that was declared; None if it says no more than that there are bytes."""
    name = (media_type or "").partition(";")[0].strip().lower()
    return None if name in _UNKNOWN_TYPES else media_type


def is_image_type(media_type: str | None) -> bool:
    """Return whether a media type is one of pictures: `image/*`."""
    return media_type is not None and media_type.lower().startswith("image/")


def extension_for(media_type: str | None) -> str | None:
    """Return the usual file extension of a media type, without its dot; parameters are ignored. None: not known."""
    if media_type is None:
        return None
    name = media_type.partition(";")[0].strip().lower()
    if name in _EXTENSIONS:
        return _EXTENSIONS[name]
    guessed = _MIME_TYPES.guess_extension(name)
    return guessed.removeprefix(".") if guessed else None


def media_type_for_extension(extension: str | None) -> str | None:
    """Return the media type of a file extension, with or without its dot. None: not known."""
    if not extension:
        return None
    name = extension.removeprefix(".").lower()
    return _TYPES.get(name) or _MIME_TYPES.types_map[True].get(f".{name}")


UNKNOWN_TYPE: Final = "application/octet-stream"
_UNKNOWN_TYPES: Final = frozenset({"", UNKNOWN_TYPE, "binary/octet-stream"})  # the latter is the default of S3

# The defaults of the standard library only: what a machine's own tables say must not change a key or a file name.
_MIME_TYPES: Final = mimetypes.MimeTypes()

# The DLCS's table where it differs from the standard library's, or says more.
_EXTENSIONS: Final = {
    "image/jpeg": "jpg",
    "image/jpg": "jpg",
    "image/jp2": "jp2",
    "image/jpx": "jpf",
    "image/jph": "jph",
    "image/x-jp2-codestream": "j2k",
    "image/tiff": "tif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/x-portable-anymap": "pnm",
    "audio/mp3": "mp3",
}
_TYPES: Final = {
    **{extension: media_type for media_type, extension in reversed(_EXTENSIONS.items())},
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "jpx": "image/jpx",
    "j2c": "image/x-jp2-codestream",
    "jpc": "image/x-jp2-codestream",
}

_JP2_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JPEG_2000_FAMILY: Final = {
    b"jp2 ": SourceFormat("image/jp2", is_image=True, is_jp2=True),
    b"jpx ": SourceFormat("image/jpx", is_image=True),
    b"jph ": SourceFormat("image/jph", is_image=True),
    b"jpm ": SourceFormat("image/jpm"),
    b"mjp2": SourceFormat("video/mj2"),
}

_SIGNATURES: Final = tuple(
    (re.compile(pattern, re.DOTALL), source_format)
    for pattern, source_format in (
        (rb"\xff\xd8\xff", SourceFormat("image/jpeg", is_image=True)),
        (rb"II[*+]\x00|MM\x00[*+]", SourceFormat("image/tiff", is_image=True)),  # + is BigTIFF
        (rb"\x89PNG\r\n\x1a\n", SourceFormat("image/png", is_image=True)),
        (rb"GIF8[79]a", SourceFormat("image/gif", is_image=True)),
        (rb"RIFF.{4}WEBP", SourceFormat("image/webp", is_image=True)),
        # Two letters are not enough: the reserved bytes and the size of the second header must fit too.
        (rb"BM.{4}\x00{4}.{4}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00{3}", SourceFormat("image/bmp", is_image=True)),
        (rb"P[1-6][\s#]", SourceFormat("image/x-portable-anymap", is_image=True)),
        (rb"\xff\x4f\xff\x51", SourceFormat("image/x-jp2-codestream", is_image=True)),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n", SourceFormat("image/jxl")),
        (rb"8BPS\x00[\x01\x02]", SourceFormat("image/vnd.adobe.photoshop")),
        (rb".{0,1000}?%PDF-", SourceFormat("application/pdf")),
        (rb"PK\x03\x04", SourceFormat("application/zip")),
        (rb"RIFF.{4}WAVE", SourceFormat("audio/wav")),
        (rb"ID3", SourceFormat("audio/mp3")),
    )
)
_ISO_BRANDS: Final = {
    b"avif": SourceFormat("image/avif", is_image=True),
    b"avis": SourceFormat("image/avif", is_image=True),
    b"heic": SourceFormat("image/heic"),
    b"heix": SourceFormat("image/heic"),
    b"mif1": SourceFormat("image/heif"),
    b"qt  ": SourceFormat("video/quicktime"),
}
_HTML: Final = re.compile(rb"<(?:!doctype html|html|head|body|title|script|meta|h1|p|div)\b", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def _jpeg_2000(head: bytes) -> SourceFormat | None:
    if not head.startswith(_JP2_SIGNATURE):
        return None
    brands = _brands(head[len(_JP2_SIGNATURE) :])
    if b"jp2 " in brands:  # as brand or in the compatibility list: a reader of JP2 can read it
        return _JPEG_2000_FAMILY[b"jp2 "]
    known = [_JPEG_2000_FAMILY[brand] for brand in brands if brand in _JPEG_2000_FAMILY]
    return known[0] if known else SourceFormat("image/jpx", is_image=True)


def _by_signature(head: bytes) -> SourceFormat | None:
    return next((source_format for pattern, source_format in _SIGNATURES if pattern.match(head)), None)


def _iso_media(head: bytes) -> SourceFormat | None:
    brands = _brands(head)
    return _ISO_BRANDS.get(brands[0], SourceFormat("video/mp4")) if brands else None


def _brands(boxes: bytes) -> tuple[bytes, ...]:
    """Return brand and compatibility list of a file-type box at the start; none if there is no such box."""
    length = int.from_bytes(boxes[:4], "big")
    if boxes[4:8] != b"ftyp":
        return ()
    compatible = range(16, min(length, len(boxes)) - 3, 4)
    return (boxes[8:12], *(boxes[at : at + 4] for at in compatible))


def _markup(head: bytes) -> SourceFormat | None:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if _HTML.match(start):
        return SourceFormat("text/html")
    if start.startswith((b"<?xml", b"<svg", b"<!--", b"<!DOCTYPE")):
        if b"<svg" in start:
            return SourceFormat("image/svg+xml")
        return SourceFormat("text/html" if re.search(rb"<html\b", start, re.IGNORECASE) else "application/xml")
    return None


def _text(head: bytes) -> SourceFormat | None:
    try:
        # Not final: the last character may be cut in the middle.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    return SourceFormat("text/plain") if text.strip() and not _CONTROL.search(text) else None
