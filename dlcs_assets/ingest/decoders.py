"""Opening a picture with Pillow: accepted formats only, recognised by the bytes; nothing is decoded without need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat, sniff
from dlcs_assets.ingest.jp2_boxes import BrokenJp2Error, read_at, read_boxes

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile
    from PIL.TiffImagePlugin import TiffImageFile

HEAD_BYTES: Final = 65536

# Media type -> Pillow's module and class. Called by name, not by Image.open, which would try all others too and has a
# limit of pixels of its own, for the whole process.
_DECODERS: Final = {
    "image/jpeg": ("JpegImagePlugin", "JpegImageFile"),
    "image/tiff": ("TiffImagePlugin", "TiffImageFile"),
    "image/png": ("PngImagePlugin", "PngImageFile"),
    "image/gif": ("GifImagePlugin", "GifImageFile"),
    "image/webp": ("WebPImagePlugin", "WebPImageFile"),
    "image/bmp": ("BmpImagePlugin", "BmpImageFile"),
    "image/x-portable-anymap": ("PpmImagePlugin", "PpmImageFile"),
    "image/jp2": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "image/jpx": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "image/jph": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "image/x-jp2-codestream": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}
# JPEG 2000 in a file of boxes, rather than a bare codestream.
JP2_BOXED: Final = frozenset({"image/jp2", "image/jpx", "image/jph"})
_XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID: Final = b"JpgTiffExif->JP2"
_UUID_BYTES: Final = 16
_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>\s*)([1-8])""")
_METADATA_BYTES: Final = 2**20
_ORIENTATION_TAG: Final = 0x0112
_WIDTH_TAG: Final = 0x0100
_HEIGHT_TAG: Final = 0x0101
_ORIENTATIONS: Final = range(1, 9)


def sniff_image(source: Path | bytes) -> SourceFormat:
    """Return the format of a picture. Raises PermanentError `not_an_image` for anything else, naming what it is."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(HEAD_BYTES)
    else:
        head = source[:HEAD_BYTES]
    found = sniff(head)
    if found is not None and found.media_type in _DECODERS:
        return found
    what = "empty" if not head else found.media_type if found else "of no known format"
    raise PermanentError(
        "not_an_image",
        f"The file is {what}, not an image",
        remedy="Open the origin's URL and put an image there, or ask for the channel file only.",
    )


@contextmanager
def opened(source: Path | bytes, source_format: SourceFormat) -> Iterator[ImageFile]:
    """Open a picture; its header is then read, its pixels are not.

    Raises PermanentError `image_unreadable`, also for what goes wrong in the body of the `with`.
    """
    module, name = _DECODERS[source_format.media_type]
    decoder = getattr(import_module(f"PIL.{module}"), name)
    try:
        with decoder(source if isinstance(source, Path) else BytesIO(source)) as image:
            yield image
    except PermanentError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders fed with foreign bytes raise whatever they stumble over
        raise PermanentError(
            "image_unreadable",
            f"The image ({source_format.media_type}) can't be read: {error or type(error).__name__}",
            remedy="See whether it opens elsewhere: it may have been cut off. Put a whole one at its origin.",
        ) from error


def stored_size(image: ImageFile, source_format: SourceFormat) -> tuple[int, int]:
    """Return width and height as they are stored, before any turning."""
    if turned_by_decoder(source_format):
        # Pillow's own size is that of the turned picture where a tag says so, but not where XMP does.
        tags = cast("TiffImageFile", image).tag_v2
        return int(tags[_WIDTH_TAG]), int(tags[_HEIGHT_TAG])
    return image.size


def turned_by_decoder(source_format: SourceFormat) -> bool:
    """Return whether a decoded picture is upright already."""
    return source_format.media_type == "image/tiff"


def orientation_of(image: ImageFile, source: Path | bytes, source_format: SourceFormat) -> int | None:
    """Return the orientation, 1 to 8, that EXIF or else XMP states; None if neither does or what it states is void."""
    if source_format.media_type in JP2_BOXED:
        return _jp2_orientation(source)
    from PIL.Image import Image

    try:
        # PNG's own method would decode the whole picture, to see whether EXIF follows it.
        return _valid(Image.getexif(image).get(_ORIENTATION_TAG))
    except Exception:  # noqa: BLE001 (broken metadata raises whatever the parser stumbles over, and turns no picture)
        return None


def _jp2_orientation(source: Path | bytes) -> int | None:
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    found: dict[bytes, bytes] = {}
    with source.open("rb") if isinstance(source, Path) else BytesIO(source) as file:
        try:
            for box in read_boxes(file, 0, size):
                if box.kind == b"uuid":
                    content = read_at(file, box.start, min(box.end - box.start, _METADATA_BYTES))
                    found[content[:_UUID_BYTES]] = content[_UUID_BYTES:]
        except BrokenJp2Error:
            pass  # reported by the caller that reads its structure
    xmp = _XMP_ORIENTATION.search(found.get(_XMP_UUID, b""))
    return _exif_orientation(found.get(_EXIF_UUID)) or (int(xmp[1]) if xmp else None)


def _exif_orientation(data: bytes | None) -> int | None:
    from PIL.Image import Exif

    if not data:
        return None
    exif = Exif()
    try:
        exif.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
        return _valid(exif.get(_ORIENTATION_TAG))
    except Exception:  # noqa: BLE001 (as above)
        return None


def _valid(value: object) -> int | None:
    return value if isinstance(value, int) and value in _ORIENTATIONS else None
