"""From what a decoder gives to what is shown: eight bits, greyscale or RGB in sRGB, opacity laid on white."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dlcs_stack.pictures.errors import UnsupportedError

if TYPE_CHECKING:
    from PIL import Image, ImageCms

DEEP_MODES: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_WITH_ALPHA: Final = frozenset({"LA", "RGBA"})
_PROFILE_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_SIXTEEN_BITS: Final = 65535


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert what Pillow decoded to one of L, LA, RGB, RGBA, CMYK, LAB; raise `UnsupportedError` for other ranges."""
    mode, transparent = image.mode, image.info.get("transparency")
    if mode in DEEP_MODES:
        return _from_deep(image, transparent)
    if mode == "F":
        return _from_real(image)
    if mode == "1":
        return image.convert("L" if transparent is None else "LA")
    if mode in {"P", "PA"} or (mode in {"L", "RGB"} and transparent is not None):
        has_alpha = mode == "PA" or transparent is not None
        grey = mode == "L"
        return image.convert(("LA" if grey else "RGBA") if has_alpha else "RGB")
    if mode in {"L", "LA", "RGB", "RGBA", "CMYK", "LAB"}:
        return image
    return image.convert("RGBA" if "a" in mode.lower() else "RGB")  # YCbCr, HSV, RGBX, La, RGBa


def to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an image of one of those modes to L, LA, RGB or RGBA in sRGB; return also what had to be ignored.

    Inks without a usable profile each take their share of the light: red is (1 - cyan)(1 - black), and so on.
    """
    if image.mode in _WITH_ALPHA:
        alpha = image.getchannel("A")
        opaque, notes = to_srgb(image.convert(image.mode.removesuffix("A")), icc)
        opaque.putalpha(alpha)
        return opaque, notes
    notes = ()
    if icc:
        image, notes = _through_profile(image, icc)
    if image.mode == "LAB":
        image = _from_lab(image)
    return (image if image.mode in ("L", "RGB") else image.convert("RGB")), notes


def on_white(image: Image.Image) -> Image.Image:
    """Lay what is transparent on white."""
    from PIL import Image

    if image.mode not in _WITH_ALPHA:
        return image
    colours = image.mode.removesuffix("A")
    flat = Image.new(colours, image.size, "white")
    flat.paste(image.convert(colours), mask=image.getchannel("A"))
    return flat


def _from_deep(image: Image.Image, transparent: int | None) -> Image.Image:
    """Scale samples of 16 bits to 8, rounding."""
    table = [(value * 510 + _SIXTEEN_BITS) // (2 * _SIXTEEN_BITS) for value in range(_SIXTEEN_BITS + 1)]
    deep = image.convert("I")
    grey = deep.point(table, "L")
    if transparent is None:
        return grey
    grey.putalpha(deep.point([0 if value == transparent else 255 for value in range(_SIXTEEN_BITS + 1)], "L"))
    return grey


def _from_real(image: Image.Image) -> Image.Image:
    low, high = image.getextrema()
    if not (isinstance(low, float) and isinstance(high, float) and 0 <= low <= high <= 1):
        raise UnsupportedError("has floating-point samples outside of 0 to 1, whose range is not defined")
    return image.point(lambda value: value * 255 + 0.5).convert("L")


def _through_profile(image: Image.Image, icc: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    from PIL import ImageCms

    try:
        space = _profile(icc).profile.xcolor_space.strip()
        grey = image.mode == "L"
        if space == "RGB" and grey:  # scanners give grey pages the profile of their RGB ones
            image = image.convert("RGB")
        if _PROFILE_SPACES[image.mode] != space:
            return image, (f"ICC profile ignored: it is for {space}, the image is {image.mode}",)
        shown = _converted(image, icc)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return image, (f"ICC profile ignored: {error}",)
    return (shown.convert("L") if grey else shown), ()


def _from_lab(image: Image.Image) -> Image.Image:
    return _converted(image, None)


def _converted(image: Image.Image, icc: bytes | None) -> Image.Image:
    from PIL import ImageCms

    shown = ImageCms.applyTransform(image, _transform(icc, image.mode))
    if shown is None:
        raise AssertionError("a transform that is not in place gives an image")
    return shown


# A picture that comes in strips needs the same one for each.
@lru_cache(maxsize=2)
def _transform(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform:
    """Return what turns `mode` into sRGB; without a profile, L*a*b*."""
    from PIL import ImageCms

    source = _profile(icc) if icc else ImageCms.createProfile("LAB")
    intent = ImageCms.Intent.PERCEPTUAL
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent)


@lru_cache(maxsize=2)
def _profile(icc: bytes) -> ImageCms.ImageCmsProfile:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(io.BytesIO(icc))
