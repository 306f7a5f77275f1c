"""From levels of some colour space to sRGB: through the picture's profile, or by the rule for pictures without one."""

from __future__ import annotations

import io
from enum import Enum
from typing import TYPE_CHECKING

from dlcs_assets.pictures.fingerprint import without_ink

if TYPE_CHECKING:
    from dlcs_assets.pictures.fingerprint import Array


class Spectrum(Enum):
    """What the channels of levels are, and the name that an ICC profile of such pictures gives its colours."""

    GREY = ("L", "GRAY")
    RGB = ("RGB", "RGB")
    CMYK = ("CMYK", "CMYK")
    LAB = ("LAB", "Lab")

    @property
    def channels(self) -> str:
        """Pillow's name: it has one letter a channel."""
        return self.value[0]

    @property
    def profile_space(self) -> str:
        """The colour space that a fitting profile is of."""
        return self.value[1]


def to_srgb(levels: Array, spectrum: Spectrum, profile: bytes | None) -> Array:
    """Return sRGB levels, 0 to 255, of levels 0 to 255; of LAB, 0 is the lowest of a* and b*, 128 neutral.

    A profile that does not fit or is broken is ignored, as the converters do. CMYK without one: what an ink leaves,
    times what black leaves.
    """
    import numpy as np

    levels = np.clip(levels, 0, 255)
    if spectrum is Spectrum.LAB:
        return _of_lab(levels)
    if profile:
        shown = _through(profile, levels, spectrum)
        if shown is not None:
            return shown
    if spectrum is Spectrum.CMYK:
        return without_ink(levels)
    return np.repeat(levels, 3, axis=-1) if spectrum is Spectrum.GREY else levels


def rgb_of_ycbcr(levels: Array) -> Array:
    """Return RGB levels of Y, Cb and Cr, as JFIF and JPEG 2000 have them; some may be outside of 0 to 255."""
    import numpy as np

    luma, blue, red = levels[..., 0], levels[..., 1] - 128, levels[..., 2] - 128
    return np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)


def _through(profile: bytes, levels: Array, spectrum: Spectrum) -> Array | None:
    import numpy as np
    from PIL import Image, ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        grey_as_rgb = spectrum is Spectrum.GREY and space == "RGB"
        if grey_as_rgb:  # scanners give grey pages the profile of their RGB ones
            levels, spectrum = np.repeat(levels, 3, axis=-1), Spectrum.RGB
        if space != spectrum.profile_space:
            return None
        pixels = np.rint(levels).astype(np.uint8)
        picture = Image.frombytes(spectrum.channels, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
        shown = ImageCms.profileToProfile(
            picture,
            opened,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if shown is None else np.asarray(shown, np.float64)


def _of_lab(levels: Array) -> Array:
    """CIE L*a*b* (D50) to sRGB, by the book."""
    import numpy as np

    lightness, red_green, yellow_blue = levels[..., 0] / 2.55, levels[..., 1] - 128, levels[..., 2] - 128
    middle = (lightness + 16) / 116
    axes = np.stack([middle + red_green / 500, middle, middle - yellow_blue / 200], axis=-1)
    linear = np.where(axes > 6 / 29, axes**3, 3 * (6 / 29) ** 2 * (axes - 4 / 29))
    xyz = linear * np.array([0.9642, 1.0, 0.8249])
    to_rgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )  # sRGB's primaries, adapted from D65 to D50 (Bradford)
    light, linear_below = np.clip(xyz @ to_rgb.T, 0, 1), 0.0031308
    return np.asarray(255 * np.where(light <= linear_below, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))
