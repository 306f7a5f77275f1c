"""Layouts of other formats."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
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
)
from dlcs_assets_tests.pictures.prints import grey_scene, scene


def others() -> Iterator[Layout]:
    """Yield all of them."""
    alpha = opacity(scene())
    seen_through = np.dstack([scene(), alpha])
    laid = on_white(scene(), alpha)
    two = quantized(grey_scene(), 1)
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    indexed = Image.fromarray(grey_scene()[..., 0], "P")
    indexed.putpalette(palette.tobytes())
    of_palette = palette[grey_scene()[..., 0]]
    bilevel = Image.fromarray((two[..., 0] * 255).astype(np.uint8)).convert("1")

    yield layout("GIF", "one picture", "", _saved(indexed, "GIF"), of_palette)
    clear = int(grey_scene()[40, 40, 0])
    data = _saved(indexed, "GIF", transparency=clear)
    yield layout("GIF", "with transparency", "", data, np.where(grey_scene() == clear, 255, of_palette))
    data = _saved(indexed, "GIF", save_all=True, append_images=[Image.new("L", (160, 96))])
    yield layout("GIF", "animated: its first picture", "", data, of_palette)
    yield layout("WebP", "opaque", "without loss", _saved(scene(), "WEBP", lossless=True), scene())
    yield layout("WebP", "opaque", "with loss", _saved(scene(), "WEBP", quality=95), scene(), tolerance=LOSSY)
    data = _saved(seen_through, "WEBP", lossless=True, exact=True)
    yield layout("WebP", "with alpha", "", data, laid)
    yield layout(
        "AVIF", "opaque", "", _saved(scene(), "AVIF", quality=95, subsampling="4:4:4"), scene(), tolerance=LOSSY
    )
    for orientation in ORIENTATIONS:
        data = _saved(scene(), "AVIF", quality=95, subsampling="4:4:4", exif=exif(orientation))
        yield layout("AVIF", turning(orientation), "", data, scene(), tolerance=LOSSY, orientation=orientation)
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    data = _saved(scene(), "AVIF", quality=95, subsampling="4:4:4", xmp=text)
    yield layout("AVIF", "with an orientation in XMP, which means nothing there", "", data, scene(), tolerance=LOSSY)
    data = _saved(seen_through, "AVIF", quality=95, subsampling="4:4:4")
    yield layout("AVIF", "with alpha", "", data, laid, tolerance=LOSSY)
    yield layout("BMP", "RGB", "", _saved(scene(), "BMP"), scene())
    yield layout("BMP", "grey", "", _saved(grey_scene(), "BMP"), grey_scene())
    yield layout("BMP", "palette", "", _saved(indexed, "BMP"), of_palette)
    yield layout("BMP", "bilevel", "", _saved(bilevel, "BMP"), shown(two, 1))
    unset = np.dstack([scene(), np.zeros_like(alpha)])
    yield layout("BMP", "with alpha", "", _bitmap(seen_through), laid)
    yield layout("BMP", "with alpha that was not set", "", _bitmap(unset), scene())
    yield layout("PBM, PGM, PPM", "RGB", "", b"P6 160 96 255\n" + scene().tobytes(), scene())
    yield layout("PBM, PGM, PPM", "grey", "", b"P5 160 96 255\n" + grey_scene().tobytes(), grey_scene())
    deep = quantized(grey_scene(), 16).astype(">u2").tobytes()
    yield layout("PBM, PGM, PPM", "grey of 16 bits", "", b"P5 160 96 65535\n" + deep, grey_scene())
    bits = np.packbits(1 - two[..., 0].astype(np.uint8), axis=1).tobytes()
    yield layout("PBM, PGM, PPM", "bilevel", "", b"P4 160 96\n" + bits, shown(two, 1))
    yield layout("JPEG XL", "", "", bytes(imagecodecs.jpegxl_encode(scene(), lossless=True)), scene())
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    yield layout("HEIC", "", "", heic, scene())
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="160" height="96"/>'
    yield layout("SVG", "", "", svg, scene())
    yield layout("PDF", "", "", b"%PDF-1.7\n" + bytes(100), scene())


def _bitmap(pixels: Array) -> bytes:
    """Return a BMP of version 4, whose masks say where red, green, blue and opacity are."""
    rows = pixels[::-1, :, [2, 1, 0, 3]].astype(np.uint8).tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII4I4s48x", 108, 160, 96, 1, 32, 3, len(rows), 0, 0, 0, 0, *masks, b"BGRs")
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows


def _saved(picture: Image.Image | Array, kind: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.squeeze(picture))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
