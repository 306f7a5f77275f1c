"""Layouts of JPEG: colours, subsampling, progression, restarts, markers, profiles and turning by EXIF."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import imagecodecs  # noqa: TID253 (compresses what is read)
import numpy as np  # noqa: TID253 (made of pixels)
from PIL import Image  # noqa: TID253 (compresses what is read)

from dlcs_assets_tests.pictures.layouts.layout import (
    LOSSY,
    ORIENTATIONS,
    Array,
    Layout,
    exif,
    layout,
    turning,
    without_ink,
)
from dlcs_assets_tests.pictures.layouts.tiff import press_profile, srgb_profile, through_profile
from dlcs_assets_tests.pictures.prints import grey_scene, scene
from dlcs_testing.profiles import adobe_rgb, adobe_rgb_in_srgb, grey_gamma, to_srgb

_lossy = partial(layout, tolerance=LOSSY)


def jpegs() -> Iterator[Layout]:
    """Yield all of them."""
    inks = np.concatenate([scene(3), grey_scene(4)], axis=2)
    for progressive in (False, True):
        for restart in (0, 3):
            for optimize in (False, True):
                how: dict[str, Any] = {
                    "progressive": progressive,
                    "restart_marker_blocks": restart,
                    "optimize": optimize,
                }
                variant = f"{'progressive' if progressive else 'baseline'}, restarts {restart}, optimized {optimize}"
                yield _lossy("grey", "", variant, jpeg(grey_scene(), "L", **how), grey_scene())
                for name, subsampling in (("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)):
                    data = jpeg(scene(), "RGB", subsampling=subsampling, **how)
                    yield _lossy("YCbCr", name, variant, data, scene())
                yield _lossy("RGB", "", variant, jpeg(scene(), "RGB", keep_rgb=True, **how), scene())
                yield _lossy(
                    "CMYK without a profile",
                    "as Adobe writes it",
                    variant,
                    jpeg(inks, "CMYK", **how),
                    without_ink(inks),
                )
    yield from _inks(inks)
    yield from _turned(inks)
    yield from _profiles()
    yield from _markers()


def _inks(inks: Array) -> Iterator[Layout]:
    ycck = bytes(imagecodecs.jpeg8_encode(255 - inks, colorspace="CMYK", outcolorspace="YCCK", level=95))
    yield _lossy("CMYK without a profile", "stored as YCCK", "", ycck, without_ink(inks))
    # As Adobe's, all the same: all readers take them so.
    unsaid = _without_marker(jpeg(inks, "CMYK"), 0xEE)
    yield _lossy("CMYK without a profile", "without Adobe's marker", "", unsaid, without_ink(inks))
    profile = press_profile()
    data = jpeg(inks, "CMYK", icc_profile=profile)
    yield _lossy("CMYK with a profile", "", "", data, through_profile(inks, profile, "CMYK"))


def _turned(inks: Array) -> Iterator[Layout]:
    for name, mode, pixels, right in (
        ("grey", "L", grey_scene(), grey_scene()),
        ("YCbCr", "RGB", scene(), scene()),
        ("CMYK", "CMYK", inks, without_ink(inks)),
    ):
        for orientation in ORIENTATIONS:
            item = turning(orientation)
            for progressive in (False, True):
                data = jpeg(pixels, mode, exif=b"Exif\0\0" + exif(orientation), progressive=progressive)
                is_inks = mode == "CMYK" and "mirrored" not in item
                subject = "CMYK without a profile" if is_inks else "any, with an orientation in EXIF"
                yield _lossy(subject, item, name, data, right, orientation=orientation)


def _profiles() -> Iterator[Layout]:
    grey = np.repeat(grey_scene(), 3, axis=2)
    for name, profile, pixels, mode, right in (
        ("sRGB", srgb_profile(), scene(), "RGB", scene()),
        ("Adobe RGB", adobe_rgb(), scene(), "RGB", adobe_rgb_in_srgb(scene())),
        ("grey, gamma 1.8", grey_gamma(1.8), grey_scene(), "L", to_srgb((grey / 255) ** 1.8)),
        ("grey with a profile of RGB", adobe_rgb(), grey_scene(), "L", adobe_rgb_in_srgb(grey)),
        ("RGB with a profile of greys: ignored", grey_gamma(1.8), scene(), "RGB", scene()),
        ("a broken profile: ignored", b"no profile", scene(), "RGB", scene()),
    ):
        yield _lossy("with an ICC profile", name, "", jpeg(pixels, mode, icc_profile=profile), right)


def _markers() -> Iterator[Layout]:
    whole = jpeg(scene(), "RGB")
    (length,) = struct.unpack_from(">H", whole, 4)
    yield _lossy(
        "other segments", "an empty JFIF segment", "", whole[:2] + b"\xff\xe0\0\x02" + whole[4 + length :], scene()
    )
    yield _lossy("other segments", "neither JFIF's nor Adobe's", "", _without_marker(whole, 0xE0), scene())
    yield _lossy("other segments", "bytes behind its end", "", whole + bytes(1000), scene())
    lossless = bytes(imagecodecs.ljpeg_encode(grey_scene()[..., 0], bitspersample=8))
    yield layout("lossless JPEG", "8 bits", "", lossless, grey_scene())
    for bits in (12, 16):
        deep = (grey_scene()[..., 0].astype(np.uint16) * (2**bits - 1)) // 255
        data = bytes(imagecodecs.ljpeg_encode(deep, bitspersample=bits))
        yield layout("lossless JPEG", f"{bits} bits", "", data, grey_scene())
    jpeg_ls = bytes(imagecodecs.jpegls_encode(grey_scene()[..., 0]))
    yield layout("JPEG-LS", "", "", jpeg_ls, grey_scene())


def jpeg(pixels: Array, mode: str, **options: Any) -> bytes:
    """Return a JPEG of good quality."""
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def _without_marker(data: bytes, code: int) -> bytes:
    at = data.index(bytes([0xFF, code]))
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + data[at + 2 + length :]
