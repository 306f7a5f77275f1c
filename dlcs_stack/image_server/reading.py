"""Sources: recognised by their bytes, measured from their headers, decoded at no more detail than is needed.

What comes out of `decode` is upright and has eight bits per channel; its colours are still the
source's own. Runs in a worker process.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Final, cast

from PIL import ExifTags, Image, UnidentifiedImageError  # noqa: TID253 (only workers load this module)

from dlcs_stack.image_server.jp2 import Jp2Header, read_header
from dlcs_stack.image_server.refusal import RefusalError, unreadable
from dlcs_stack.limits import limited

FORMATS: Final = ("JPEG", "JPEG2000", "TIFF", "PNG", "WEBP", "GIF", "BMP", "PPM")
_JPEG_LEVELS = 3  # libjpeg decodes at 1/2, 1/4 and 1/8
_SIXTEEN_TO_EIGHT = 1 / 256
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, IndexError, KeyError)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING: Final = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class Description:
    """A source as its headers have it. Width and height are those of the upright picture, in pixels.

    `orientation` is EXIF's (1 to 8), what remains to be done after decoding; `levels` is how often both edges can be
    halved while decoding, `native_levels` whether the file itself holds them.
    """

    format: str
    width: int
    height: int
    levels: int
    native_levels: bool
    orientation: int

    def decoded_pixels(self, reduction: int) -> int:
        """Return how many pixels a decode at 1/2^`reduction` gives."""
        return -(-self.width >> reduction) * -(-self.height >> reduction)

    def reduction_for(self, scale: float) -> int:
        """Return how often the edges may be halved while decoding for a result at `scale` of full size."""
        return max(0, min(self.levels, math.floor(math.log2(1 / scale))))


@dataclass(frozen=True)
class Raster:
    """A decoded picture; its pixels are 1/`factor` of the full size's."""

    image: Image.Image
    factor: int
    icc_profile: bytes | None


def describe(path: str, max_pixels: int) -> Description:
    """Read the headers of the file at `path`. No picture data is decoded.

    Raises `RefusalError`: 501 where it is no picture, 403 where it has more than `max_pixels` (0: any number is fine).
    """
    try:
        with limited(0), _opened(path) as image:
            description = _describe_jp2(path, image) if image.format == "JPEG2000" else _describe(image)
    except UnidentifiedImageError as error:
        raise unreadable("it is not a picture in a known format.") from error
    except _BROKEN as error:
        raise unreadable(f"{error}.") from error
    if max_pixels and description.width * description.height > max_pixels:
        raise RefusalError(
            403, f"The source is {description.width} x {description.height}, more than the {max_pixels} pixels allowed."
        )
    return description


def decode(path: str, description: Description, reduction: int) -> Raster:
    """Decode the file at 1/2^`reduction` of its size. Raises `RefusalError` with 501 where its data is broken."""
    try:
        if description.format == "JPEG2000":
            return _decode_jp2(path, description, reduction)
        with _opened(path) as image:
            factor = 1
            if reduction and description.format == "JPEG":
                image.draft(image.mode, (image.width >> reduction, image.height >> reduction))
                factor = 1 << reduction
            image.load()
            icc_profile = image.info.get("icc_profile")
            return Raster(_upright(_eight_bit(image), description.orientation), factor, icc_profile)
    except _BROKEN as error:
        raise unreadable(f"{error}.") from error


def _opened(path: str) -> Image.Image:
    with warnings.catch_warnings():
        # A damaged tag is no reason to refuse a picture that decodes.
        warnings.simplefilter("ignore")
        return Image.open(path, formats=FORMATS)


def _describe(image: Image.Image) -> Description:
    # Of PNG's own getexif() nothing is wanted: it decodes the whole picture to find a chunk behind it.
    orientation = _valid(Image.Image.getexif(image).get(ExifTags.Base.Orientation))
    width, height = image.size
    kind = "JPEG" if image.format in {"JPEG", "MPO"} else str(image.format)
    if kind == "TIFF":
        orientation = 1  # Pillow turns a TIFF while it decodes, and says the size that results
    elif orientation in _SWAPPING:
        width, height = height, width
    levels = _JPEG_LEVELS if kind == "JPEG" else 0
    return Description(kind, width, height, levels, native_levels=False, orientation=orientation)


def _describe_jp2(path: str, image: Image.Image) -> Description:
    header = _jp2_header(path)
    if (header.width, header.height) != image.size:
        raise ValueError("its boxes and its codestream disagree about its size")
    orientation = _jp2_orientation(header)
    edges = (header.width, header.height)
    width, height = reversed(edges) if orientation in _SWAPPING else edges
    return Description("JPEG2000", width, height, header.levels, native_levels=True, orientation=orientation)


def _jp2_header(path: str) -> Jp2Header:
    with open(path, "rb") as file:  # noqa: PTH123 (a str is what travels to the worker)
        return read_header(file)


def _jp2_orientation(header: Jp2Header) -> int:
    if header.exif:
        exif = Image.Exif()
        exif.load(header.exif)
        if orientation := exif.get(ExifTags.Base.Orientation):
            return _valid(orientation)
    return header.xmp_orientation


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _decode_jp2(path: str, description: Description, reduction: int) -> Raster:
    image = _reduced_jp2(path, reduction) if reduction else None
    factor = 1 << reduction if image else 1
    if image is None:
        image = _opened(path)
        image.load()
    upright = _upright(_eight_bit(image), description.orientation)
    return Raster(upright, factor, _jp2_header(path).icc_profile)


def _reduced_jp2(path: str, reduction: int) -> Image.Image | None:
    """Decode at a lower level of resolution; None where that fails, as it may though a full decode succeeds.

    Pillow rounds the reduced size where OpenJPEG takes the ceiling, and then calls the data broken. From a size that is
    a multiple of 2^reduction both come to the same.
    """
    image = _opened(path)
    image.reduce = reduction  # type: ignore[method-assign, assignment]  # the JPEG 2000 plugin's own attribute
    image._size = tuple(-(-edge >> reduction) << reduction for edge in image.size)  # type: ignore[assignment] # noqa: SLF001 (see above)
    try:
        image.load()
    except OSError:
        return None
    return image


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert to one of L, LA, RGB, RGBA, CMYK, LAB: modes that can be resized and colour-managed."""
    mode = image.mode
    if mode in {"P", "PA"} or (mode in {"L", "RGB"} and "transparency" in image.info):
        has_alpha = mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if has_alpha else "RGB")
    if mode == "1":
        return image.convert("L")
    if mode.startswith("I"):
        return image.point(lambda value: value * _SIXTEEN_TO_EIGHT).convert("L")
    if mode == "F":
        low, high = cast("tuple[float, float]", image.getextrema())
        scale = 255 / ((high - low) or 1.0)
        return image.point(lambda value: value * scale - low * scale).convert("L")
    if mode in {"L", "LA", "RGB", "RGBA", "CMYK", "LAB"}:
        return image
    return image.convert("RGBA" if "a" in mode.lower() else "RGB")


def prepare() -> None:
    """Set Pillow up for a process that does nothing but this: plugins loaded, and the number of pixels left to us.

    Pillow's own guard against pixel bombs would refuse what the configuration of the server allows.
    """
    Image.init()
    Image.MAX_IMAGE_PIXELS = None
