"""Reading JPEG, PNG, GIF, WebP and AVIF with libvips, and what that does not read (BMP, PPM ...) with Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.pictures.colour import Spectrum, to_srgb
from dlcs_assets.pictures.fingerprint import Fingerprint, Shrinker, fingerprint_of
from dlcs_assets.pictures.header import (
    Colour,
    PictureHeader,
    SampleKind,
    unreadable,
    unsupported,
)
from dlcs_assets.pictures.orientation import upright_size, valid_orientation, xmp_orientation

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from dlcs_assets.pictures.fingerprint import Array

# Media type -> Pillow's module and class. Called by name, not by Image.open, which would try all others too and has a
# limit of pixels of its own, for the whole process.
_DECODERS: Final = {
    "image/jpeg": ("JpegImagePlugin", "JpegImageFile"),
    "image/png": ("PngImagePlugin", "PngImageFile"),
    "image/gif": ("GifImagePlugin", "GifImageFile"),
    "image/webp": ("WebPImagePlugin", "WebPImageFile"),
    "image/avif": ("AvifImagePlugin", "AvifImageFile"),
    "image/bmp": ("BmpImagePlugin", "BmpImageFile"),
    "image/x-portable-anymap": ("PpmImagePlugin", "PpmImageFile"),
}
RASTERS: Final = frozenset(_DECODERS)
JPEG: Final = SourceFormat("image/jpeg", is_image=True)
_BY_PILLOW: Final = frozenset({"image/bmp", "image/x-portable-anymap"})
_ORIENTATION_TAG: Final = 0x0112
# What libvips says of good JPEGs that its decoder doesn't read.
_UNSUPPORTED: Final = {
    "Unsupported JPEG data precision": "more than 8 bits a sample",
    "Unsupported JPEG process": "neither baseline nor progressive",
    "Unsupported marker type 0xf7": "JPEG-LS",
    "Security limit exceeded": "more pixels than its decoder takes",
}
_NOT_READ_BMP: Final = "Unsupported BMP"  # as Pillow puts it
# A grid of at least this is asked of libvips; what is made of it is exact.
_FINE: Final = 128
_ENDS: Final = "premature end"
_JPEG_SHRINKS: Final = (8, 4, 2)

_MODES: Final = {
    "1": (Colour.BILEVEL, 1),
    "L": (Colour.GREY, 8),
    "LA": (Colour.GREY, 8),
    "I": (Colour.GREY, 16),
    "F": (Colour.GREY, 32),
    "P": (Colour.PALETTE, 8),
    "PA": (Colour.PALETTE, 8),
    "CMYK": (Colour.CMYK, 8),
}


def read_raster_header(source: Path | bytes, source_format: SourceFormat, frames: int = 1) -> PictureHeader:
    """Read a header. Raises PermanentError `image_unreadable` or `image_unsupported`.

    `frames` are those of a GIF: Pillow would read all of them to count them.
    """
    try:
        with _by_pillow(source, source_format) as image:
            return _pillow_header(image, source_format, frames)
    except PermanentError:
        if source_format.media_type in _BY_PILLOW:
            raise
        # Pillow refuses some that are whole: a JPEG with an empty JFIF segment, for one.
        return _vips_header(source, source_format)


def raster_fingerprint(source: Path | bytes, header: PictureHeader) -> Fingerprint:
    """Decode a picture of this header as far as its fingerprint needs. Raises as `read_raster_header`."""
    if header.format.media_type in _BY_PILLOW:
        with _by_pillow(source, header.format) as image:
            return _pillow_fingerprint(image, header)
    return _vips_fingerprint(source, header)


@contextmanager
def _by_pillow(source: Path | bytes, source_format: SourceFormat) -> Iterator[ImageFile]:
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
        if (said := str(error)).startswith(_NOT_READ_BMP):
            raise unsupported(source_format.media_type, said.removeprefix("Unsupported ")) from error
        raise unreadable(source_format.media_type, error or type(error).__name__) from error


def _pillow_header(image: ImageFile, source_format: SourceFormat, frames: int) -> PictureHeader:
    stated = _stated_orientation(image)
    width, height = image.size
    if width < 1 or height < 1:
        raise unreadable(source_format.media_type, "it has no pixels")
    width, height = upright_size(width, height, stated)
    colour, bits = _deep_png(image) or _MODES.get(
        image.mode, (Colour.GREY, 16) if image.mode.startswith("I") else (Colour.RGB, 8)
    )
    return PictureHeader(
        source_format,
        width,
        height,
        stated or 1,
        stated is not None,
        colour,
        bits,
        SampleKind.FLOAT if image.mode == "F" else SampleKind.UNSIGNED,
        has_alpha=image.has_transparency_data,
        has_profile=bool(image.info.get("icc_profile")),
        pages=frames if source_format.media_type == "image/gif" else int(getattr(image, "n_frames", 1)),
    )


def _deep_png(image: ImageFile) -> tuple[Colour, int] | None:
    """Return what a PNG of 16 bits holds, if it is one of several channels: Pillow's mode for it is one of 8 bits."""
    stored = image.tile[0].args if image.format == "PNG" and image.tile else None
    colours = {"LA;16B": Colour.GREY, "RGB;16B": Colour.RGB, "RGBA;16B": Colour.RGB}
    return (colours[stored], 16) if isinstance(stored, str) and stored in colours else None


def _stated_orientation(image: ImageFile) -> int | None:
    from PIL.Image import Image

    if image.format == "AVIF":
        # By the standard only properties of its container turn it. Pillow gives them as EXIF.
        image.info.pop("xmp", None)
    try:
        # PNG's own method would decode the whole picture, to see whether EXIF follows it.
        return valid_orientation(Image.getexif(image).get(_ORIENTATION_TAG))
    except Exception:  # noqa: BLE001 (broken metadata raises whatever the parser stumbles over, and turns no picture)
        return None


def _pillow_fingerprint(image: ImageFile, header: PictureHeader) -> Fingerprint:
    import numpy as np

    image.load()
    is_transparent = False
    match image.mode:
        case "L" | "RGB":
            levels = np.asarray(image)
        case "I":
            levels = np.asarray(image, np.float64) / 257
        case "F":
            raise unsupported(header.format.media_type, "floating-point samples")
        case "RGBA":
            levels, is_transparent = _laid_on_white(np.asarray(image, np.float64))
        case _:
            levels = np.asarray(image.convert("RGB"))
    levels = levels if levels.ndim == 3 else levels[..., None]  # noqa: PLR2004 (axes)
    shrinker = Shrinker(levels.shape[1], levels.shape[0], levels.shape[2])
    shrinker.add(0, 0, levels)
    means = shrinker.means()
    grid = to_srgb(means, Spectrum.GREY if levels.shape[2] == 1 else Spectrum.RGB, None)
    return fingerprint_of(
        grid,
        shrinker.column_edges,
        shrinker.row_edges,
        orientation=header.orientation,
        is_transparent=is_transparent,
    )


def _laid_on_white(levels: Array) -> tuple[Array, bool]:
    """Return opaque levels, and whether they were not. An opacity that is 0 everywhere is one that was not set."""
    opacity = levels[..., 3:] / 255
    if not opacity.any():
        return levels[..., :3], False
    return levels[..., :3] * opacity + 255 * (1 - opacity), bool(opacity.min() < 1)


@contextmanager
def _vips_errors(source_format: SourceFormat) -> Iterator[None]:
    import pyvips

    try:
        yield
    except pyvips.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        telling = [line for line in lines if not line.startswith("unable to call")]
        said = telling[-1] if telling else "its header is damaged"
        for words, what in _UNSUPPORTED.items():
            if any(words in line for line in telling):
                raise unsupported(source_format.media_type, what) from error
        raise unreadable(source_format.media_type, f"it is truncated: {said}" if _ENDS in said else said) from error


def _open_with_vips(source: Path | bytes, **options: Any) -> Any:
    import pyvips

    _check_process()
    options = {"access": "sequential", "fail_on": "truncated", **options}
    if isinstance(source, Path):
        return pyvips.Image.new_from_file(str(source), **options)
    return pyvips.Image.new_from_buffer(source, "", **options)


_first_used_in: list[int] = []


def _check_process() -> None:
    """Fail, rather than wait forever: the threads of libvips do not live on in a fork of a process that has used it.

    Runs are forks of a process that never reads a picture.
    """
    if not _first_used_in:
        _first_used_in.append(os.getpid())
    if _first_used_in[0] != os.getpid():
        raise RuntimeError("libvips was used before this process was forked, and cannot be used in it")


def _vips_header(source: Path | bytes, source_format: SourceFormat) -> PictureHeader:
    with _vips_errors(source_format):
        image = _open_with_vips(source)
        stated = _vips_orientation(image)
        width, height = upright_size(image.width, image.height, stated)
        has_profile = image.get_typeof("icc-profile-data") != 0
        colour = {"b-w": Colour.GREY, "grey16": Colour.GREY, "cmyk": Colour.CMYK}.get(image.interpretation, Colour.RGB)
        bits = 16 if image.format == "ushort" else 8
        has_alpha = bool(image.hasalpha())
    return PictureHeader(
        source_format,
        width,
        height,
        stated or 1,
        stated is not None,
        colour,
        bits,
        has_alpha=has_alpha,
        has_profile=has_profile,
    )


def _vips_orientation(image: Any) -> int | None:
    if image.get_typeof("orientation"):
        return valid_orientation(image.get("orientation"))
    return xmp_orientation(bytes(image.get("xmp-data"))) if image.get_typeof("xmp-data") else None


def _vips_fingerprint(source: Path | bytes, header: PictureHeader) -> Fingerprint:
    import numpy as np

    media_type = header.format.media_type
    is_turned = media_type == "image/avif"  # libvips turns it while it decodes
    width, height = (header.width, header.height) if is_turned else header.stored_size
    options: dict[str, Any] = {}
    if media_type == "image/jpeg":
        shrink = next((each for each in _JPEG_SHRINKS if min(width, height) >= each * _FINE), 1)
        options["shrink"] = shrink
    with _vips_errors(header.format):
        image = _open_with_vips(source, **options)
        if "shrink" not in options and (image.width, image.height) != (width, height):
            raise unreadable(
                media_type, f"its header says {width} x {height}, and it decodes to {image.width} x {image.height}"
            )
        profile = bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else None
        transparent = False
        top = 65535 if image.format == "ushort" else 255
        if image.hasalpha():
            # On the pixels, before anything is averaged; how much of it is seen through is known only from them.
            image = image.bandjoin(image[image.bands - 1]).copy(interpretation="multiband")
            alpha = image[image.bands - 1]
            flat = image[: image.bands - 2] if image.bands > 3 else image[0]  # noqa: PLR2004 (grey, alpha, its copy)
            flat = (flat * alpha + (alpha * -1 + top) * top) / top
            image = flat.bandjoin(alpha)
            transparent = True
        elif image.interpretation == "cmyk" and profile is None:
            black = image[3] * -1 + top
            image = (image[:3] * -1 + top) * black / top
        across, down = max(1, image.width // _FINE), max(1, image.height // _FINE)
        full = image.width, image.height
        small = image.shrink(across, down, ceil=True) if (across, down) != (1, 1) else image
        kind = {"uchar": np.uint8, "ushort": np.uint16}.get(small.format, np.float32)
        small = small if kind is not np.float32 else small.cast("float")
        shape = (small.height, small.width, small.bands)
        levels = np.ndarray(buffer=small.write_to_memory(), dtype=kind, shape=shape) * np.float64(255 / top)
    if transparent:
        transparent = bool(levels[..., -1].min() < 255 - 1e-3)
        levels = levels[..., :-1]
    spectrum = {1: Spectrum.GREY, 3: Spectrum.RGB, 4: Spectrum.CMYK}[levels.shape[2]]
    grid = to_srgb(levels, spectrum, profile)
    column_edges = np.minimum(np.arange(small.width + 1) * across, full[0]).astype(np.float64)
    row_edges = np.minimum(np.arange(small.height + 1) * down, full[1]).astype(np.float64)
    orientation = 1 if is_turned else header.orientation
    return fingerprint_of(grid, column_edges, row_edges, orientation=orientation, is_transparent=transparent)
