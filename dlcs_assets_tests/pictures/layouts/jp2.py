"""Layouts of JPEG 2000: components and depths, the meaning that boxes give them, turning, and storage."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import permutations
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
    on_white,
    opacity,
    quantized,
    shown,
    turning,
    without_ink,
    ycbcr,
)
from dlcs_assets_tests.pictures.layouts.tiff import press_profile, srgb_profile, through_profile
from dlcs_assets_tests.pictures.prints import grey_scene, scene
from dlcs_testing.profiles import adobe_rgb, adobe_rgb_in_srgb, grey_gamma, to_srgb
from dlcs_testing.raw_jp2 import CMYK, GREY, SRGB, SYCC, box, codestream, jp2, subsampled_codestream

EXIF_UUID, XMP_UUID = b"JpgTiffExif->JP2", bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def jp2s() -> Iterator[Layout]:
    """Yield all of them."""
    yield from _depths()
    yield from _with_opacity()
    yield from _meanings()
    yield from _turned()
    yield from _profiles()
    yield from _stored()
    yield from _bare()


def _depths() -> Iterator[Layout]:
    for name, space, pixels in (("grey", GREY, grey_scene()), ("RGB", SRGB, scene())):
        for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 20):
            samples = quantized(pixels, bits)
            right = shown(samples, bits)
            yield layout("grey or RGB", f"{bits} bits", name, jp2(_stream(samples, bits), space), right)
            yield layout(
                "grey or RGB", f"{bits} bits", f"{name}, no colour space said", jp2(_stream(samples, bits), None), right
            )
        signed = bytes(imagecodecs.jpeg2k_encode(np.squeeze(pixels.astype(np.int16) - 128), codecformat="j2k", level=0))
        yield layout("signed samples", "", name, jp2(signed, space), pixels)


def _bare() -> Iterator[Layout]:
    """Yield codestreams without boxes, which say nothing of colours."""
    for name, pixels in (("grey", grey_scene()), ("RGB", scene())):
        for bits in (1, 4, 8, 9, 12, 16):
            samples = quantized(pixels, bits)
            yield layout(
                "a codestream without boxes", f"{bits} bits", name, _stream(samples, bits), shown(samples, bits)
            )
    four = np.concatenate([scene(), opacity(scene())], axis=2)
    yield layout("a codestream without boxes", "four components", "", _stream(four, 8), scene())
    converted = ycbcr(scene())
    small = [np.ascontiguousarray(converted[::2, ::2, at]) for at in (1, 2)]
    stream = subsampled_codestream([converted[..., 0], *small])
    yield layout("a codestream without boxes", "subsampled", "4:2:0", stream, scene(), tolerance=LOSSY)


def _with_opacity() -> Iterator[Layout]:
    for name, space, colours in (("grey", GREY, grey_scene()), ("RGB", SRGB, scene())):
        alpha = opacity(colours)
        count = colours.shape[2]
        for kind, how, stored in ((1, "alpha", colours), (2, "alpha, premultiplied", np.rint(colours * (alpha / 255)))):
            for bits in (8, 12, 16):
                for first in (False, True):
                    parts = [alpha, stored] if first else [stored, alpha]
                    samples = quantized(np.concatenate(parts, axis=2), bits)
                    channels = [(at + first, 0, at + 1) for at in range(count)] + [(0 if first else count, kind, 0)]
                    data = jp2(_stream(samples, bits), space, channels=channels)
                    variant = "first" if first else "last"
                    yield layout(f"with {how}", name, f"{bits} bits, {variant}", data, on_white(colours, alpha))
        samples = np.concatenate([colours, alpha], axis=2)
        yield layout(
            "with one channel more, of which nothing is said", name, "", jp2(_stream(samples, 8), space), colours
        )


def _meanings() -> Iterator[Layout]:
    for order in permutations(range(3)):
        for bits in (8, 16):
            channels = [(at, 0, colour + 1) for at, colour in enumerate(order)]
            data = jp2(_stream(quantized(scene()[..., order], bits), bits), SRGB, channels=channels)
            yield layout("channels in another order", f"{bits} bits", str(order), data, scene())
    yield layout("sYCC", "", "", jp2(_stream(ycbcr(scene()), 8), SYCC), scene())
    inks = np.concatenate([scene(3), grey_scene(4)], axis=2)
    for bits in (8, 16):
        data = jp2(_stream(quantized(inks, bits), bits), CMYK)
        yield layout("CMYK without a profile", f"{bits} bits", "", data, without_ink(inks))
    profile = press_profile()
    data = jp2(_stream(inks, 8), profile)
    yield layout("CMYK with a profile", "8 bits", "", data, through_profile(inks, profile, "CMYK"))
    for seed, columns in ((1, 3), (2, 1)):
        colours = np.random.default_rng(seed).integers(0, 256, (256, columns))
        data = jp2(_stream(grey_scene(), 8), SRGB if columns == 3 else GREY, palette=colours.tolist())
        yield layout("palette", "", f"{columns} columns", data, colours[grey_scene()[..., 0]])
    for space, name in ((14, "CIE L\\*a\\*b\\*"), (3, "YCbCr of another kind"), (19, "number 19")):
        yield layout("another colour space", name, "", jp2(_stream(scene(), 8), space), scene())
    converted = ycbcr(scene())
    for across, down, name in ((2, 2, "4:2:0"), (2, 1, "4:2:2"), (4, 4, "4:1:0")):
        small = [np.ascontiguousarray(converted[::down, ::across, at]) for at in (1, 2)]
        stream = subsampled_codestream([converted[..., 0], *small])
        yield layout("sYCC, subsampled", name, "", jp2(stream, SYCC), scene(), tolerance=LOSSY)


def _turned() -> Iterator[Layout]:
    alpha = opacity(scene())
    channels = [(0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0)]
    for orientation in ORIENTATIONS:
        by_exif = box(b"uuid", EXIF_UUID + exif(orientation))
        text = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="{orientation}"/></x:xmpmeta>'
        by_xmp = box(b"uuid", XMP_UUID + text.encode())
        item = turning(orientation)
        for variant, after in (("EXIF", by_exif), ("XMP", by_xmp)):
            for name, stream, space, pixels in (
                ("grey", _stream(grey_scene(), 8), GREY, grey_scene()),
                ("RGB", _stream(scene(), 8), SRGB, scene()),
                ("RGB of 16 bits", _stream(quantized(scene(), 16), 16), SRGB, scene()),
            ):
                data = jp2(stream, space, after=after)
                subject, detail = "any, with an orientation in EXIF or XMP", f"{variant}, {name}"
                yield layout(subject, item, detail, data, pixels, orientation=orientation)
        stream = _stream(np.dstack([scene(), alpha]), 8)
        data = jp2(stream, SRGB, channels=channels, after=by_exif)
        right = on_white(scene(), alpha)
        subject = "any, with an orientation in EXIF or XMP" if "mirrored" in item else "with alpha"
        yield layout(
            subject, item if subject != "with alpha" else "RGB", str(orientation), data, right, orientation=orientation
        )


def _profiles() -> Iterator[Layout]:
    grey = np.repeat(grey_scene(), 3, axis=2)
    for bits in (8, 16):
        for name, profile, pixels, right in (
            ("sRGB", srgb_profile(), scene(), scene()),
            ("Adobe RGB", adobe_rgb(), scene(), adobe_rgb_in_srgb(scene())),
            ("grey, gamma 1.8", grey_gamma(1.8), grey_scene(), to_srgb((grey / 255) ** 1.8)),
        ):
            data = jp2(_stream(quantized(pixels, bits), bits), profile)
            yield layout("with an ICC profile", name, f"{bits} bits", data, right)


def _stored() -> Iterator[Layout]:
    for progression in ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL"):
        for irreversible in (False, True):
            for tiles in (None, (64, 64)):
                data = _saved(progression=progression, irreversible=irreversible, tile_size=tiles)
                variant = f"{progression}, {'tiles' if tiles else 'one tile'}"
                item = "with loss" if irreversible else "without loss"
                yield layout("RGB, any progression and tiling", item, variant, data, scene())
    for rate in (5, 10):
        data = _saved(quality_mode="rates", quality_layers=[rate * 4, rate], irreversible=True)
        yield layout("RGB, any progression and tiling", "with loss", f"rate {rate}", data, scene(), tolerance=LOSSY)
    whole = jp2(_stream(scene(), 8), SRGB)
    yield layout("a file of another form", "bytes behind its end", "", whole + bytes(1000), scene())
    yield layout(
        "a file of another form", "JPX that says that it is a JP2, too", "", _branded(whole, b"jpx ", b"jp2 "), scene()
    )
    yield layout("JPX that does not say that it is a JP2, too", "", "", _branded(whole, b"jpx ", b"jpx "), scene())
    yield layout("a file of another form", "no boxes", "RGB", _stream(scene(), 8), scene())
    yield layout("a file of another form", "no boxes", "grey", _stream(grey_scene(), 8), grey_scene())


def _branded(data: bytes, brand: bytes, compatible: bytes) -> bytes:
    at = data.index(b"ftyp") + 4
    return data[:at] + brand + bytes(4) + compatible + data[at + 12 :]


def _stream(samples: Array, bits: int) -> bytes:
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return codestream(np.squeeze(samples).astype(kind), bits)


def _saved(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene()).save(
        file, "JPEG2000", **{key: value for key, value in options.items() if value is not None}
    )
    return file.getvalue()
