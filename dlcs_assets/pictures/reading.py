"""Reading any picture: its header, and its fingerprint. The bytes decide about the format."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat, sniff
from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.header import PictureHeader
from dlcs_assets.pictures.jp2 import CODESTREAM, jp2_fingerprint, read_jp2_header
from dlcs_assets.pictures.raster import RASTERS, raster_fingerprint, read_raster_header
from dlcs_assets.pictures.tiff import read_tiff_header, tiff_fingerprint

HEAD_BYTES: Final = 65536
_JPEG_2000: Final = frozenset({"image/jp2", "image/jpx", "image/jph", CODESTREAM.media_type})
_NOT_SUPPORTED: Final = {
    "image/heic": "HEIC, whose codec is patented",
    "image/heif": "HEIF, whose codec may be patented",
    "image/jxl": "JPEG XL",
    "image/svg+xml": "SVG, which has no pixels",
}


def sniff_image(source: Path | bytes) -> SourceFormat:
    """Return the format of a picture that is read here. Raises as `require_picture`."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(HEAD_BYTES)
    else:
        head = source[:HEAD_BYTES]
    return require_picture(sniff(head), "empty" if not head else "of no known format")


def require_picture(found: SourceFormat | None, otherwise: str = "of no known format") -> SourceFormat:
    """Return a format of pictures that are read here; `otherwise` says what a file of no known one is.

    Raises PermanentError `image_unsupported` for other pictures, `not_an_image` for anything else, naming what it is.
    """
    if found is not None and (found.media_type in RASTERS | _JPEG_2000 or found.media_type == "image/tiff"):
        return found
    if found is not None and found.media_type.startswith("image/"):
        what = _NOT_SUPPORTED.get(found.media_type, found.media_type)
        raise PermanentError(
            "image_unsupported",
            f"The image is {what}: that is not supported",
            remedy="Convert it to TIFF, JPEG, PNG or JP2, and put that at its origin.",
        )
    what = found.media_type if found else otherwise
    raise PermanentError(
        "not_an_image",
        f"The file is {what}, not an image",
        remedy="Open the origin's URL and put an image there, or ask for the channel file only.",
    )


def read_header(path: Path, *, max_pixels: int) -> PictureHeader:
    """Read the header of a picture.

    Raises PermanentError `not_an_image`, `image_unsupported`, `image_unreadable`, `jp2_broken` or `too_many_pixels`.
    """
    source_format = sniff_image(path)
    if source_format.media_type == "image/tiff":
        header = read_tiff_header(path)
    elif source_format.media_type in _JPEG_2000:
        header = read_jp2_header(path, source_format)
    else:
        header = read_raster_header(path, source_format)
    if header.width * header.height > max_pixels:
        raise PermanentError(
            "too_many_pixels",
            f"The image has {header.width} x {header.height} pixels, more than {max_pixels}",
            remedy="Put a smaller one at its origin, or raise DLCS_MAX_PIXELS.",
        )
    return header


def fingerprint(source: Path | bytes) -> Fingerprint:
    """Return what a picture looks like, upright. Raises as `read_header`, but for `too_many_pixels`."""
    source_format = sniff_image(source)
    if source_format.media_type == "image/tiff":
        return tiff_fingerprint(source)
    if source_format.media_type in _JPEG_2000:
        assert isinstance(source, Path)
        return jp2_fingerprint(source, source_format)
    return raster_fingerprint(source, source_format)
