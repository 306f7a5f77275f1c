"""Probing image files: format and size as they will be served, and whether two files show the same picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final, cast

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.ingest.decoders import JP2_BOXED, opened, orientation_of, sniff_image, stored_size, turned_by_decoder
from dlcs_assets.ingest.jp2_structure import read_jp2_structure

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_TRANSPOSED_ORIENTATIONS: Final = frozenset({5, 6, 7, 8})
# Decoded in full where a format has no smaller version inside: about 150 MB.
_MAX_DECODED_PIXELS: Final = 50_000_000
# Of 256 levels. Below it what is left is noise of the compression.
_FLAT_BELOW: Final = 2.0
# Evenly ruled pages of one text correlate by at most 0.82, illuminated ones by 0.32, each with its own thumbnail
# (100 px, another codec, another gamma) by at least 0.95.
_SAME_ABOVE: Final = 0.87


@dataclass(frozen=True)
class ImageInfo:
    """What the header of an image says. Width and height are those of the picture turned upright.

    `has_orientation`: EXIF or XMP state one, be it "upright"; servers may differ in whether they heed it.
    """

    format: SourceFormat
    width: int
    height: int
    orientation: int
    has_orientation: bool
    frames: int


def probe_image(path: Path, *, max_pixels: int) -> ImageInfo:
    """Read the header of an image file.

    Raises PermanentError `not_an_image`, `image_unreadable` or `too_many_pixels`.
    """
    source_format = sniff_image(path)
    with opened(path, source_format) as image:
        width, height = stored_size(image, source_format)
        if width < 1 or height < 1:
            raise OSError("it has no pixels")
        if width * height > max_pixels:
            raise PermanentError(
                "too_many_pixels",
                f"The image has {width} x {height} pixels, more than {max_pixels}",
                remedy="Put a smaller one at its origin, or raise DLCS_MAX_PIXELS.",
            )
        stated = orientation_of(image, path, source_format)
        frames = int(getattr(image, "n_frames", 1))
    orientation = stated or 1
    if orientation in _TRANSPOSED_ORIENTATIONS:
        width, height = height, width
    return ImageInfo(source_format, width, height, orientation, stated is not None, frames)


def fingerprint(source: Path | bytes, size: int = 16) -> bytes:
    """Return `size` x `size` grey levels of a picture, upright: what remains of it in a small, blurred thumbnail.

    Empty where that says nothing: pictures with fewer pixels than that, with transparency (whatever is put behind
    it), JP2s that state an orientation (servers differ), and those too large to be decoded for this. Raises
    PermanentError `not_an_image`, `image_unreadable` or `jp2_broken`.
    """
    source_format = sniff_image(source)
    if source_format.is_jp2 and isinstance(source, Path):
        levels = _reduced_jp2(source, source_format, size)
        if levels is not None:
            return levels
    with opened(source, source_format) as image:
        if source_format.media_type == "image/jpeg":
            image.draft("L", (4 * size, 4 * size))
        return _grey_levels(image, source, source_format, size)


def same_picture(one: bytes, other: bytes) -> bool:
    """Return whether two fingerprints may be of the same picture, be it brighter, duller, negative or compressed.

    True also where that is undecidable: one of them is empty, or of a page that is blank or nearly so.
    """
    if not one or not other:
        return True
    first, second = _own_pattern(one), _own_pattern(other)
    if min(_spread(first), _spread(second)) < _FLAT_BELOW:
        return True
    covariance = fmean(a * b for a, b in zip(first, second, strict=True))
    return abs(covariance) / (_spread(first) * _spread(second)) > _SAME_ABOVE


def _reduced_jp2(path: Path, source_format: SourceFormat, size: int) -> bytes | None:
    """Decode the smallest resolution that is large enough; None if there is none, or it can't be read."""
    structure = read_jp2_structure(path)
    steps = min(structure.levels, max(0, (min(structure.width, structure.height) // (4 * size)).bit_length() - 1))
    if steps == 0:
        return None
    try:
        with opened(path, source_format) as image:
            # Pillow rounds where OpenJPEG takes the ceiling, and then finds its buffer too small: a size for which
            # both are the same gives what OpenJPEG gives.
            power = 1 << steps
            image._size = (-(-image.width // power) * power, -(-image.height // power) * power)  # noqa: SLF001 (above)
            image.reduce = steps  # type: ignore[method-assign,assignment]  # in this decoder it is a setting
            return _grey_levels(image, path, source_format, size)
    except PermanentError:
        return None


def _grey_levels(image: ImageFile, source: Path | bytes, source_format: SourceFormat, size: int) -> bytes:
    from PIL import Image as PillowImage

    orientation = orientation_of(image, source, source_format) or 1
    if orientation > 1 and source_format.media_type in JP2_BOXED:
        return b""
    reduce = image.reduce if isinstance(image.reduce, int) else 0
    if (image.width >> reduce) * (image.height >> reduce) > _MAX_DECODED_PIXELS or min(image.size) < size:
        return b""
    image.load()
    if _is_transparent(image):
        return b""
    small = _as_grey(image).resize((size, size), PillowImage.Resampling.BOX)
    return bytes(_turned(small, 1 if turned_by_decoder(source_format) else orientation).tobytes())


def _is_transparent(image: Image) -> bool:
    if not image.has_transparency_data:
        return False
    lowest, _ = _extrema(image.convert("RGBA").getchannel("A"))
    return lowest < 255  # noqa: PLR2004 (opaque)


def _as_grey(image: Image) -> Image:
    if image.mode.startswith("I;16"):
        return image.point(lambda level: level * (1 / 257)).convert("L")
    if image.mode in {"I", "F"}:
        lowest, highest = _extrema(image)
        scale = 255 / (highest - lowest) if highest > lowest else 0.0
        return image.point(lambda level: level * scale - lowest * scale).convert("L")
    return image.convert("L")


def _extrema(image: Image) -> tuple[float, float]:
    """Return the lowest and the highest level of an image of one band."""
    return cast("tuple[float, float]", image.getextrema())


def _turned(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _own_pattern(levels: bytes) -> list[float]:
    """Return what remains without the mean of each row and column: margins and lines are alike on all pages."""
    size = math.isqrt(len(levels))
    mean = fmean(levels)
    rows = [fmean(levels[start : start + size]) for start in range(0, len(levels), size)]
    columns = [fmean(levels[column::size]) for column in range(size)]
    return [level - rows[at // size] - columns[at % size] + mean for at, level in enumerate(levels)]


def _spread(pattern: list[float]) -> float:
    return math.sqrt(fmean(deviation * deviation for deviation in pattern))
