"""From what a decoder gives to what is shown: 8-bit greyscale or RGB, in sRGB, without alpha."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser.errors import ConversionError

if TYPE_CHECKING:
    from PIL import Image

_DEEP_MODES: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_PROFILE_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_SIXTEEN_BITS: Final = 16

# TIFF tags
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """Turn a decoded image into mode L or RGB, and return what had to be ignored.

    Transparent parts become white: neither a page nor its JPEG thumbnails have a use for alpha, and readers differ in
    what they make of a JP2's. A profile that cannot be used is ignored, with a note. Raises `ConversionError` for
    samples that have no agreed range.
    """
    if image.mode == "F":
        raise ConversionError("The source has floating-point samples, whose range is not defined.")
    if image.mode in _DEEP_MODES:
        image = _to_eight_bits(image)
    elif image.mode == "1":
        image = image.convert("LA" if "transparency" in image.info else "L")
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode not in _PROFILE_SPACES:  # P, PA, YCbCr, HSV, RGBX
        image = image.convert("RGB")
    notes: tuple[str, ...] = ()
    if icc:
        image, notes = _through_profile(image, icc)
    if image.mode == "LAB":
        image = _from_lab(image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image.info = {}  # a saved image would inherit the profile that is now spent, and comments
    return image, notes


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale samples of up to 16 bits to 8, rounding."""
    tags = getattr(image, "tag_v2", {})
    bits = _first(tags.get(_BITS_PER_SAMPLE, _SIXTEEN_BITS))
    if bits > _SIXTEEN_BITS or _first(tags.get(_SAMPLE_FORMAT, _UNSIGNED)) != _UNSIGNED:
        raise ConversionError(f"The source has signed or {bits}-bit samples, whose range is not defined.")
    top = (1 << bits) - 1
    table = [min(255, (value * 510 + top) // (2 * top)) for value in range(65536)]
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        table = [255 - value for value in table]
    return image.convert("I").point(table, "L")


def _first(value: int | tuple[int, ...]) -> int:
    return value[0] if isinstance(value, tuple) else value


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    colours = "L" if image.mode in ("L", "LA", "La") else "RGB"
    with_alpha = image.convert("LA" if colours == "L" else "RGBA")
    flat = Image.new(colours, image.size, "white")
    flat.paste(with_alpha.convert(colours), mask=with_alpha.getchannel("A"))
    return flat


def _through_profile(image: Image.Image, icc: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        grey = image.mode == "L"
        if space == "RGB" and grey:  # scanners give grey pages the profile of their RGB ones
            image = image.convert("RGB")
        if _PROFILE_SPACES[image.mode] != space:
            return image, (f"ICC profile ignored: it is for {space}, the image is {image.mode}",)
        shown = ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return image, (f"ICC profile ignored: {error}",)
    if shown is None:
        raise AssertionError("a transform that is not in place gives an image")
    return (shown.convert("L") if grey else shown), ()


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    shown = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if shown is None:
        raise AssertionError("a transform that is not in place gives an image")
    return shown
