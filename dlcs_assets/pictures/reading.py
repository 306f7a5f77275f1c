"""Reading any picture: its header, and its fingerprint. The bytes decide about the format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat, sniff
from dlcs_assets.pictures.demands import Gate, read_demand
from dlcs_assets.pictures.fingerprint import Fingerprint
from dlcs_assets.pictures.header import PictureHeader
from dlcs_assets.pictures.jp2 import CODESTREAM, jp2_fingerprint, jp2_header, open_jp2
from dlcs_assets.pictures.raster import RASTERS, raster_fingerprint, read_raster_header
from dlcs_assets.pictures.tiff import TIFF, read_tiff, read_tiff_header

HEAD_BYTES: Final = 65536
_JPEG_2000: Final = frozenset({"image/jp2", "image/jpx", "image/jph", CODESTREAM.media_type})
_OPEN: Final = Gate()
_NOT_SUPPORTED: Final = {
    "image/heic": "HEIC, whose codec is patented",
    "image/heif": "HEIF, whose codec may be patented",
    "image/jxl": "JPEG XL",
    "image/svg+xml": "SVG, which has no pixels",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture's header says, and what it looks like."""

    header: PictureHeader
    look: Fingerprint


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


def read_header(source: Path | bytes, gate: Gate = _OPEN) -> PictureHeader:
    """Read the header of a picture.

    Raises as `Gate.let_in`, and PermanentError `not_an_image`, `image_unsupported`, `image_unreadable` or `jp2_broken`.
    """
    source_format = sniff_image(source)
    if source_format.media_type in _JPEG_2000:
        return jp2_header(open_jp2(_file(source), source_format, gate))
    frames = _let_in(source, source_format, gate)
    if source_format.media_type == TIFF.media_type:
        return read_tiff_header(source)
    return read_raster_header(source, source_format, frames)


def read_picture(source: Path | bytes, gate: Gate = _OPEN) -> Picture:
    """Read the header of a picture, and what it looks like, upright. Raises as `read_header`."""
    source_format = sniff_image(source)
    if source_format.media_type in _JPEG_2000:
        jp2 = open_jp2(_file(source), source_format, gate)
        return Picture(jp2_header(jp2), jp2_fingerprint(jp2, gate))
    frames = _let_in(source, source_format, gate)
    if source_format.media_type == TIFF.media_type:
        return Picture(*read_tiff(source))
    header = read_raster_header(source, source_format, frames)
    return Picture(header, raster_fingerprint(source, header))


def fingerprint(source: Path | bytes, gate: Gate = _OPEN) -> Fingerprint:
    """Return what a picture looks like, upright. Raises as `read_header`."""
    return read_picture(source, gate).look


def _let_in(source: Path | bytes, source_format: SourceFormat, gate: Gate) -> int:
    """Let the file in, and return how many frames it has."""
    demand = read_demand(source, source_format, gate.limits.frames)
    gate.let_in(demand, source.stat().st_size if isinstance(source, Path) else len(source))
    return demand.frames


def _file(source: Path | bytes) -> Path:
    assert isinstance(source, Path)  # bytes are thumbnails, and those are no JP2
    return source
