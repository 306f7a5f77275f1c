"""Layouts of PNG, written chunk by chunk: colour types, depths, interlacing, filters, transparency, profiles."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np  # noqa: TID253 (made of pixels)

from dlcs_assets_tests.pictures.layouts.layout import (
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
)
from dlcs_assets_tests.pictures.layouts.tiff import srgb_profile
from dlcs_assets_tests.pictures.prints import grey_scene, scene
from dlcs_testing.profiles import adobe_rgb, adobe_rgb_in_srgb, grey_gamma, to_srgb

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
# Of the seven passes of Adam7: first row and column, steps down and across.
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def pngs() -> Iterator[Layout]:
    """Yield all of them."""
    for interlaced in (False, True):
        storage = "interlaced" if interlaced else "in one pass"
        yield from _plain(storage, interlaced=interlaced)
        yield from _transparent(storage, interlaced=interlaced)
    for kind in range(5):
        yield layout("RGB", "8 bits", f"filter {kind}", png(scene(), RGB, filters=kind), scene())
        deep = quantized(scene(), 16)
        yield layout("RGB", "16 bits", f"filter {kind}", png(deep, RGB, 16, filters=kind), scene())
    yield from _turned()
    yield from _profiles()


def _plain(storage: str, *, interlaced: bool) -> Iterator[Layout]:
    for bits in (1, 2, 4, 8, 16):
        samples = quantized(grey_scene(), bits)
        data = png(samples, GREY, bits, interlaced=interlaced)
        yield layout("grey", f"{bits} bits", storage, data, shown(samples, bits))
        if bits <= 8:
            colours = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)
            data = png(samples, PALETTE, bits, ("PLTE", colours.tobytes()), interlaced=interlaced)
            yield layout("palette", f"{bits} bits", storage, data, colours[samples[..., 0]])
    for bits in (8, 16):
        data = png(quantized(scene(), bits), RGB, bits, interlaced=interlaced)
        yield layout("RGB", f"{bits} bits", storage, data, scene())
        for name, kind, pixels in (("grey", GREY_ALPHA, grey_scene()), ("RGB", RGB_ALPHA, scene())):
            alpha = opacity(pixels)
            data = png(quantized(np.dstack([pixels, alpha]), bits), kind, bits, interlaced=interlaced)
            yield layout(f"{name} with alpha", f"{bits} bits", storage, data, on_white(pixels, alpha))


def _transparent(storage: str, *, interlaced: bool) -> Iterator[Layout]:
    for bits in (1, 2, 4, 8, 16):
        samples = quantized(grey_scene(), bits)
        clear = int(samples[40, 40, 0])
        pixels = np.where(samples == clear, 255, shown(samples, bits))
        data = png(samples, GREY, bits, ("tRNS", struct.pack(">H", clear)), interlaced=interlaced)
        yield layout("grey with a transparent level", f"{bits} bits", storage, data, pixels)
    for bits in (8, 16):
        samples = quantized(scene(), bits)
        clear_colour = samples[40, 40]
        is_clear = (samples == clear_colour).all(axis=2, keepdims=True)
        chunk = ("tRNS", struct.pack(">3H", *clear_colour.tolist()))
        data = png(samples, RGB, bits, chunk, interlaced=interlaced)
        right = np.where(is_clear, 255, shown(samples, bits))
        yield layout("RGB with a transparent colour", f"{bits} bits", storage, data, right)
    for bits in (1, 2, 4, 8):
        samples = quantized(grey_scene(), bits)
        dice = np.random.default_rng(bits)
        colours = dice.integers(0, 256, (2**bits, 3), dtype=np.uint8)
        alphas = dice.integers(0, 256, (2**bits, 1), dtype=np.uint8)
        chunks = (("PLTE", colours.tobytes()), ("tRNS", alphas.tobytes()))
        data = png(samples, PALETTE, bits, *chunks, interlaced=interlaced)
        right = on_white(colours.astype(float), alphas)[samples[..., 0]]
        yield layout("palette with transparency", f"{bits} bits", storage, data, right)


def _turned() -> Iterator[Layout]:
    alpha = opacity(scene())
    for name, kind, samples, right in (
        ("grey", GREY, grey_scene(), grey_scene()),
        ("RGB", RGB, scene(), scene()),
        ("RGB with alpha", RGB_ALPHA, np.dstack([scene(), alpha]), on_white(scene(), alpha)),
    ):
        for orientation in ORIENTATIONS:
            item = turning(orientation)
            data = png(samples, kind, 8, ("eXIf", exif(orientation)))
            yield layout("any, to be turned by EXIF", item, name, data, right, orientation=orientation)


def _profiles() -> Iterator[Layout]:
    grey = np.repeat(grey_scene(), 3, axis=2)
    for bits in (8, 16):
        for name, profile, pixels, kind, right in (
            ("sRGB", srgb_profile(), scene(), RGB, scene()),
            ("Adobe RGB", adobe_rgb(), scene(), RGB, adobe_rgb_in_srgb(scene())),
            ("grey, gamma 1.8", grey_gamma(1.8), grey_scene(), GREY, to_srgb((grey / 255) ** 1.8)),
        ):
            chunk = ("iCCP", b"profile\0\0" + zlib.compress(profile))
            data = png(quantized(pixels, bits), kind, bits, chunk)
            yield layout("with an ICC profile", name, f"{bits} bits", data, right)
    gamma = ("gAMA", struct.pack(">I", 45455))
    yield layout("a gamma of 1/2.2 and sRGB said", "", "", png(scene(), RGB, 8, gamma, ("sRGB", b"\0")), scene())


def png(
    samples: Array, kind: int, bits: int = 8, *chunks: tuple[str, bytes], interlaced: bool = False, filters: int = 0
) -> bytes:
    """Return a PNG of a colour type with these chunks, one filter for all rows."""
    rows, columns, channels = samples.shape
    passes = [samples[top::down, left::across] for top, left, down, across in ADAM7] if interlaced else [samples]
    lines = b"".join(_lines(part, bits, filters, max(1, channels * bits // 8)) for part in passes if part.size)
    header = struct.pack(">IIBBBBB", columns, rows, bits, kind, 0, 0, interlaced)
    whole = [("IHDR", header), *chunks, ("IDAT", zlib.compress(lines)), ("IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name.encode(), content) for name, content in whole)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _lines(part: Array, bits: int, kind: int, step: int) -> bytes:
    if bits >= 8:
        packed = part.astype(f">u{bits // 8}").view(np.uint8).reshape(part.shape[0], -1)
    else:
        shifts = np.arange(bits - 1, -1, -1)
        split = (part.reshape(part.shape[0], -1)[..., None] >> shifts) & 1
        packed = np.packbits(split.astype(np.uint8).reshape(part.shape[0], -1), axis=1)
    line = packed.astype(np.int64)
    left, above, corner = np.zeros_like(line), np.zeros_like(line), np.zeros_like(line)
    left[:, step:] = line[:, :-step]
    above[1:] = line[:-1]
    corner[1:, step:] = line[:-1, :-step]
    guesses = (0, left, above, (left + above) // 2, _paeth(left, above, corner))
    filtered = ((line - guesses[kind]) % 256).astype(np.uint8)
    return np.concatenate([np.full((len(filtered), 1), kind, np.uint8), filtered], axis=1).tobytes()


def _paeth(left: Array, above: Array, corner: Array) -> Array:
    guess = left + above - corner
    far_left, far_above, far_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    nearest = np.where(far_above <= far_corner, above, corner)
    return np.where((far_left <= far_above) & (far_left <= far_corner), left, nearest)
