"""Layouts of TIFF: of samples, their storage and compression, of profiles, opacity, orientations and pages."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import imagecodecs  # noqa: TID253 (compresses what is read)
import numpy as np  # noqa: TID253 (made of pixels)
from PIL import Image, ImageCms  # noqa: TID253 (compresses what is read)

from dlcs_assets_tests.pictures.layouts.layout import (
    LOSSY,
    ORIENTATIONS,
    Array,
    Layout,
    layout,
    on_white,
    opacity,
    quantized,
    shown,
    turning,
    without_ink,
    ycbcr,
)
from dlcs_assets_tests.pictures.prints import grey_scene, scene
from dlcs_testing.profiles import adobe_rgb, adobe_rgb_in_srgb, grey_gamma, to_srgb
from dlcs_testing.raw_tiff import BYTE, LONG, SHORT, UNDEFINED
from dlcs_testing.sample_tiff import (
    CMYK,
    COLOUR_MAP,
    EXTRA_SAMPLES,
    ICC_PROFILE,
    LAB,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    NEW_SUBFILE_TYPE,
    ORIENTATION,
    PALETTE,
    RGB,
    Page,
    tiff,
)

YCBCR, ICC_LAB, INK_SET, YCBCR_SUBSAMPLING = 6, 9, 332, 530
# How a page is stored: the name of it, the length of a strip or edge of a tile, the order of bytes.
STORAGES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("strips, little-endian", {"rows_per_strip": 13}, "<"),
    ("tiles, big-endian", {"tile": 32}, ">"),
)
PREMULTIPLIED, ALPHA, UNSPECIFIED = 1, 2, 0


def tiffs() -> Iterator[Layout]:
    """Yield all of them."""
    yield from _greys()
    yield from _colours()
    yield from _with_opacity()
    yield from _palettes()
    yield from _inks()
    yield from _ycbcr()
    yield from _lab()
    yield from _floats()
    yield from _odd_samples()
    yield from _turned()
    yield from _big()
    yield from _pages()
    yield from _profiles()
    yield from _compressed()
    yield from _faxes()
    yield from _image_codecs()


def _stored(subject: str, item: str, page: Page, pixels: Array, variant: str = "", **options: Any) -> Iterator[Layout]:
    """Yield a page in strips and in tiles, in either order of bytes."""
    for name, storage, order in STORAGES:
        data = tiff(replace(page, **storage), order=order)
        if page.planar and "tile" in storage and page.photometric in (RGB, CMYK):  # refused, whatever they hold
            if page.bits not in (8, 16, 32) or page.samples.dtype.kind == "f" or page.compression > 1 or options:
                continue
            subject, item, variant = "RGB or CMYK, planes in tiles", "", f"{subject}, {item}, {variant}"
        yield layout(subject, item, ", ".join(filter(None, [variant, name])), data, pixels, **options)


def _greys() -> Iterator[Layout]:
    for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32):
        samples = quantized(grey_scene(), bits)
        pixels = shown(samples, bits)
        yield from _stored("grey", f"{bits} bits", Page(samples, MIN_IS_BLACK, bits), pixels, "black is 0")
        inverted = (2**bits - 1) - samples
        yield from _stored("grey", f"{bits} bits", Page(inverted, MIN_IS_WHITE, bits), pixels, "white is 0")


def _colours() -> Iterator[Layout]:
    for bits in (2, 4, 8, 10, 12, 14, 16, 24, 32):
        samples = quantized(scene(), bits)
        for planar in (False, True):
            page = Page(samples, RGB, bits, planar)
            variant = "planes" if planar else "interleaved"
            yield from _stored("RGB", f"{bits} bits", page, shown(samples, bits), variant)


def _with_opacity() -> Iterator[Layout]:
    for photometric, name, colours in ((MIN_IS_BLACK, "grey", grey_scene()), (RGB, "RGB", scene())):
        alpha = opacity(colours)
        laid = on_white(colours, alpha)
        kinds: tuple[tuple[str, list[int], Array, Array], ...] = (
            ("alpha", [ALPHA], colours, laid),
            ("premultiplied alpha", [PREMULTIPLIED], np.rint(colours * (alpha / 255)), laid),
            ("a channel of unknown use", [UNSPECIFIED], colours, colours),
            ("alpha and another channel", [ALPHA, UNSPECIFIED], colours, laid),
            ("a channel of which no tag says anything", [], colours, laid),
        )
        for item, extra, stored, right in kinds:
            whole = np.concatenate([stored] + [alpha] * max(1, len(extra)), axis=2)
            tags = {EXTRA_SAMPLES: (SHORT, extra)} if extra else {}
            for bits in (8, 16, 32):
                for planar in (False, True):
                    page = Page(quantized(whole, bits), photometric, bits, planar, tags=tags)
                    in_planes = ", in planes" if planar and name == "grey" else ""
                    subject = f"grey with more channels{in_planes}" if in_planes else "grey or RGB with more channels"
                    deep = ", 32 bits" if bits == 32 and extra == [PREMULTIPLIED] else ""
                    yield from _stored(subject, item + deep, page, right, f"{name}, {bits} bits, {planar=}")


def _palettes() -> Iterator[Layout]:
    for bits in (1, 2, 4, 8):
        indices = quantized(grey_scene(), bits)
        colours = np.random.default_rng(bits).integers(0, 256, (2**bits, 3))
        for name, factor in (("16 bits", 257), ("8 bits", 1)):
            entries = (colours * factor).T.ravel().tolist()
            page = Page(indices, PALETTE, bits, tags={COLOUR_MAP: (SHORT, entries)})
            yield from _stored(
                "palette of 1 to 8 bits", f"colours of {name}", page, colours[indices[..., 0]], f"{bits} bits"
            )


def _inks() -> Iterator[Layout]:
    inks = np.concatenate([scene(3), grey_scene(4)], axis=2)
    for bits in (8, 16):
        for planar in (False, True):
            variant = "planes" if planar else "interleaved"
            page = Page(quantized(inks, bits), CMYK, bits, planar)
            yield from _stored("CMYK without a profile", f"{bits} bits", page, without_ink(inks), variant)
            profile = press_profile()
            with_profile = replace(page, tags={ICC_PROFILE: (UNDEFINED, profile)})
            through = through_profile(inks, profile, "CMYK")
            yield from _stored("CMYK with a profile", f"{bits} bits", with_profile, through, variant)
            alpha = opacity(inks)
            whole = np.concatenate([inks, alpha], axis=2)
            with_alpha = Page(quantized(whole, bits), CMYK, bits, planar, tags={EXTRA_SAMPLES: (SHORT, [ALPHA])})
            laid = on_white(without_ink(inks), alpha)
            yield from _stored("CMYK with alpha", f"{bits} bits", with_alpha, laid, variant)
    odd = Page(inks, CMYK, tags={INK_SET: (SHORT, [2])})
    yield from _stored("other inks than CMYK", "", odd, without_ink(inks))


def _ycbcr() -> Iterator[Layout]:
    samples = ycbcr(scene())
    for planar in (False, True):
        page = Page(samples, YCBCR, planar=planar, tags={YCBCR_SUBSAMPLING: (SHORT, [1, 1])})
        variant = "planes" if planar else "interleaved"
        yield from _stored("YCbCr without JPEG", f"whole colours, {variant}", page, scene())
    # Units of 2 x 2 luma samples and one of each chroma.
    luma = samples[..., 0].reshape(48, 2, 80, 2).transpose(0, 2, 1, 3).reshape(48, 80, 4)
    chroma = samples[..., 1:].reshape(48, 2, 80, 2, 2).mean(axis=(1, 3)).astype(np.uint8)
    units = np.concatenate([luma, chroma], axis=2).tobytes()
    page = Page(samples, YCBCR, tags={YCBCR_SUBSAMPLING: (SHORT, [2, 2])}, encode=lambda _: units)
    yield layout("YCbCr without JPEG", "subsampled colours", "", tiff(page), scene(), tolerance=LOSSY)


def _lab() -> Iterator[Layout]:
    axes = lab(scene())
    for bits in (8, 16):
        for planar in (False, True):
            in_planes = ", in planes" if planar else ""
            unit = 2 ** (bits - 8)
            lightness, chroma = axes[..., :1] / 100 * (2**bits - 1), axes[..., 1:]
            stored = np.rint(np.concatenate([lightness, chroma * unit], axis=2)).astype(np.int64)
            signed = (stored % 2**bits).astype(np.uint32)
            yield from _stored(
                f"L\\*a\\*b\\*{in_planes}", f"CIE, {bits} bits", Page(signed, LAB, bits, planar), scene()
            )
            centred = np.rint(np.concatenate([lightness, (chroma + 128) * unit], axis=2)).astype(np.uint32)
            yield from _stored(
                f"L\\*a\\*b\\*{in_planes}", f"ICC, {bits} bits", Page(centred, ICC_LAB, bits, planar), scene()
            )


def _floats() -> Iterator[Layout]:
    for bits in (16, 32, 64):
        for photometric, name, pixels in ((MIN_IS_BLACK, "grey", grey_scene()), (RGB, "RGB", scene())):
            samples = pixels / 255.0
            for planar in (False, True) if name == "RGB" else (False,):
                half = bits == 16 and planar
                subject = "floats from 0 to 1, in planes" if half else "floats from 0 to 1"
                page = Page(samples, photometric, bits, planar)
                yield from _stored(subject, f"{bits} bits", page, pixels, f"{name}, {planar=}")
            yield from _stored(
                "floats beyond 0 to 1", f"{bits} bits", Page(samples * 200, photometric, bits), pixels, name
            )


def _odd_samples() -> Iterator[Layout]:
    for bits in (8, 16, 32):
        whole = quantized(grey_scene(), bits).astype(np.int64) - 2 ** (bits - 1)
        page = Page(whole, MIN_IS_BLACK, bits)
        yield from _stored("signed samples", f"{bits} bits", page, grey_scene())
    mixed = Page(scene(), RGB, tags={258: (SHORT, [8, 8, 16])})
    yield from _stored("channels of different depths", "", mixed, scene())


def _turned() -> Iterator[Layout]:
    alpha = opacity(scene())
    inks = np.concatenate([scene(3), grey_scene(4)], axis=2)
    colours = np.random.default_rng(1).integers(0, 256, (256, 3))
    two = quantized(grey_scene(), 1)
    pages: tuple[tuple[str, Page, Array], ...] = (
        ("bilevel", Page(two, MIN_IS_WHITE, 1), 255 - shown(two, 1)),
        ("grey", Page(grey_scene(), MIN_IS_BLACK), grey_scene()),
        ("palette", Page(grey_scene(), PALETTE, tags=_map(colours)), colours[grey_scene()[..., 0]]),
        ("RGB", Page(scene()), scene()),
        ("RGB of 16 bits in planes", Page(quantized(scene(), 16), RGB, 16, planar=True), scene()),
        (
            "RGB with alpha",
            Page(np.dstack([scene(), alpha]), RGB, tags={EXTRA_SAMPLES: (SHORT, [ALPHA])}),
            on_white(scene(), alpha),
        ),
        ("CMYK", Page(inks, CMYK), without_ink(inks)),
    )
    for name, page, pixels in pages:
        for orientation in ORIENTATIONS:
            item = turning(orientation)
            tags = {**page.tags, ORIENTATION: (SHORT, [orientation])}
            subject = "any, with an orientation"
            if name == "CMYK" and "mirrored" not in item:
                subject = "CMYK without a profile"
            elif name == "RGB with alpha" and "turned" in item:
                subject = "RGB with alpha"
            yield from _stored(subject, item, replace(page, tags=tags), pixels, name, orientation=orientation)
    page = Page(scene(), tags={ORIENTATION: (BYTE, [6])})
    yield from _stored("any, with an orientation", "as BYTE", page, scene(), orientation=6)


def _map(colours: Array) -> dict[int, tuple[int, Sequence[int]]]:
    return {COLOUR_MAP: (SHORT, (colours * 257).T.ravel().tolist())}


def _big() -> Iterator[Layout]:
    for bits in (8, 16):
        for name, storage, _ in STORAGES:
            for order in "<>":
                for planar in (False, True):
                    page = Page(quantized(scene(), bits), RGB, bits, planar, **storage)
                    variant = f"{bits} bits, {name.split(',')[0]}, {order}, {'planes' if planar else 'interleaved'}"
                    if planar and "tile" in storage:
                        continue
                    yield layout("BigTIFF", "", variant, tiff(page, order=order, big=True), scene())


def _pages() -> Iterator[Layout]:
    page, other = Page(scene()), Page(scene(2)[:48, :80])
    small = replace(other, tags={NEW_SUBFILE_TYPE: (LONG, [1])})
    mask = Page(quantized(grey_scene(), 1), 4, 1, tags={NEW_SUBFILE_TYPE: (LONG, [4])})
    old_small = replace(other, tags={255: (SHORT, [2])})
    for name, pages in (
        ("a preview first", (small, page)),
        ("a preview in the old way first", (old_small, page)),
        ("a mask first", (mask, page)),
        ("another page behind it", (page, other)),
        ("previews behind it", (page, small, small)),
    ):
        yield layout("several pages", name, "", tiff(*pages), scene())
    largest = replace(page, tags={NEW_SUBFILE_TYPE: (LONG, [1])})
    yield layout("several pages", "nothing but previews", "", tiff(small, largest), scene())


def _profiles() -> Iterator[Layout]:
    grey = np.repeat(grey_scene(), 3, axis=2)
    for bits in (8, 16):
        for name, profile, pixels, photometric, right in (
            ("sRGB", srgb_profile(), scene(), RGB, scene()),
            ("Adobe RGB", adobe_rgb(), scene(), RGB, adobe_rgb_in_srgb(scene())),
            ("grey, gamma 1.8", grey_gamma(1.8), grey_scene(), MIN_IS_BLACK, to_srgb((grey / 255) ** 1.8)),
            ("grey with a profile of RGB", adobe_rgb(), grey_scene(), MIN_IS_BLACK, adobe_rgb_in_srgb(grey)),
            ("RGB with a profile of greys: ignored", grey_gamma(1.8), scene(), RGB, scene()),
            ("a broken profile: ignored", b"no profile", scene(), RGB, scene()),
        ):
            page = Page(quantized(pixels, bits), photometric, bits, tags={ICC_PROFILE: (UNDEFINED, profile)})
            yield from _stored("with an ICC profile", name, page, right, f"{bits} bits")


def _compressed() -> Iterator[Layout]:
    palette = np.random.default_rng(2).integers(0, 256, (256, 3))
    pages: tuple[tuple[str, Page, Array], ...] = (
        ("bilevel", Page(quantized(grey_scene(), 1), MIN_IS_BLACK, 1), shown(quantized(grey_scene(), 1), 1)),
        ("grey of 8 bits", Page(grey_scene(), MIN_IS_BLACK), grey_scene()),
        ("grey of 16 bits", Page(quantized(grey_scene(), 16), MIN_IS_BLACK, 16), grey_scene()),
        ("RGB of 8 bits", Page(scene()), scene()),
        ("RGB of 16 bits", Page(quantized(scene(), 16), RGB, 16), scene()),
        ("RGB of 8 bits in planes", Page(scene(), planar=True), scene()),
        ("palette", Page(grey_scene(), PALETTE, tags=_map(palette)), palette[grey_scene()[..., 0]]),
    )
    codecs: tuple[tuple[str, int, Callable[[bytes], bytes], bool], ...] = (
        ("LZW", 5, lambda data: bytes(imagecodecs.lzw_encode(data)), True),
        ("Deflate", 8, zlib.compress, True),
        ("Deflate, its old number", 32946, zlib.compress, False),
        ("PackBits", 32773, lambda data: bytes(imagecodecs.packbits_encode(data)), False),
        ("Zstandard", 50000, lambda data: bytes(imagecodecs.zstd_encode(data)), False),
        ("LZMA", 34925, lambda data: bytes(imagecodecs.lzma_encode(data)), False),
    )
    for codec, number, compress, predicts in codecs:
        for name, page, pixels in pages:
            whole = replace(page, compression=number, compress=compress)
            yield from _stored("compressed", codec, whole, pixels, name)
            if predicts and page.bits >= 8 and page.photometric != PALETTE:
                differences = replace(whole, differences=True)
                yield from _stored("compressed", f"{codec} of differences", differences, pixels, name)


def _faxes() -> Iterator[Layout]:
    two = quantized(grey_scene(), 1)
    image = Image.fromarray((two[..., 0] * 255).astype(np.uint8)).convert("1")
    for item, compression in (("CCITT RLE", "tiff_ccitt"), ("CCITT group 3", "group3"), ("CCITT group 4", "group4")):
        yield layout("compressed", item, "bilevel", _saved(image, "TIFF", compression=compression), shown(two, 1))


def _image_codecs() -> Iterator[Layout]:
    for item, number, encode, tolerance in (
        ("WebP", 50001, partial(_of_image, "WEBP", lossless=True), 3.0),
        ("JPEG 2000", 34712, _jpeg_2000, 3.0),
        ("JPEG 2000 of Aperio", 33005, _jpeg_2000, 3.0),
        ("JPEG XL", 50002, lambda part: bytes(imagecodecs.jpegxl_encode(part, lossless=True)), 3.0),
        ("PNG", 34933, partial(_of_image, "PNG"), 3.0),
    ):
        page = Page(scene(), compression=number, encode=encode)
        yield from _stored("compressed", item, page, scene(), "RGB", tolerance=tolerance)
    encode = partial(_of_image, "JPEG", quality=95)
    grey = Page(grey_scene(), MIN_IS_BLACK, compression=7, encode=encode)
    yield from _of_jpeg("grey", grey, grey_scene())
    plain = Page(scene(), compression=7, encode=partial(_of_image, "JPEG", quality=95, keep_rgb=True))
    yield from _of_jpeg("RGB", plain, scene())
    for name, subsampling, factors in (("4:4:4", 0, [1, 1]), ("4:2:2", 1, [2, 1]), ("4:2:0", 2, [2, 2])):
        encode = partial(_of_image, "JPEG", quality=95, subsampling=subsampling)
        page = Page(scene(), YCBCR, compression=7, encode=encode, tags={YCBCR_SUBSAMPLING: (SHORT, factors)})
        yield from _of_jpeg(f"YCbCr {name}", page, scene())


def _of_jpeg(name: str, page: Page, pixels: Array) -> Iterator[Layout]:
    for how, stored, order in (
        ("strips", replace(page, rows_per_strip=16), "<"),
        ("tiles", replace(page, tile=32), ">"),
    ):
        yield layout("compressed", "JPEG", f"{name}, {how}", tiff(stored, order=order), pixels, tolerance=LOSSY)


def _of_image(kind: str, part: Array, **options: Any) -> bytes:
    return _saved(Image.fromarray(np.squeeze(np.ascontiguousarray(part))), kind, **options)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _jpeg_2000(part: Array) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(part, level=0, codecformat="j2k", mct=False, reversible=True))


def srgb_profile() -> bytes:
    """Return a profile of sRGB."""
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def press_profile() -> bytes:
    """Return a profile of four inks, which libvips has."""
    import pyvips

    return bytes(pyvips.Image.profile_load("cmyk"))


def through_profile(pixels: Array, profile: bytes, mode: str) -> Array:
    """Return pixels in sRGB, each of them by LittleCMS."""
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes())
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    shown_in_srgb = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(shown_in_srgb)


def lab(pixels: Array) -> Array:
    """Return CIE L*a*b* with the white of D50 of sRGB levels: 0 to 100, and from below 0 to above it."""
    encoded = pixels / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    ratios = linear @ to_xyz.T / [0.9642, 1.0, 0.8249]
    edge = 6 / 29
    roots = np.where(ratios > edge**3, np.cbrt(ratios), ratios / (3 * edge**2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
