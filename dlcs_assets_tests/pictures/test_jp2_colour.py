"""JP2s whose boxes say something unusual of their components: the boxes are put there here, byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 (made of pixels)
import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.pictures.header import Colour
from dlcs_assets.pictures.reading import fingerprint, read_header
from dlcs_assets_tests.pictures.prints import difference, grey_scene, levels, levels_of, look_of, scene

SRGB, GREY, SYCC = 16, 17, 18


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def codestream(samples: Any, bits: int = 8) -> bytes:
    """Return samples of (rows, columns, components) as they are, without loss and without a colour transformation."""
    from imagecodecs import jpeg2k_encode

    data = jpeg2k_encode(
        np.squeeze(samples), level=0, codecformat="j2k", mct=False, bitspersample=bits, reversible=True
    )
    return bytes(data)


def jp2(samples: Any, *boxes: bytes, bits: int = 8, space: int = SRGB, profile: bytes | None = None) -> bytes:
    """Return a JP2 of these samples whose header holds these boxes besides."""
    rows, columns, components = samples.shape
    ihdr = box(b"ihdr", struct.pack(">IIHBBBB", rows, columns, components, bits - 1, 7, 0, 0))
    colr = box(b"colr", b"\x02\0\0" + profile if profile else struct.pack(">BBBI", 1, 0, 0, space))
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"jp2h", ihdr + colr + b"".join(boxes))
        + box(b"jp2c", codestream(samples, bits))
    )


def definitions(*entries: tuple[int, int, int]) -> bytes:
    """Return a box of (channel, kind, association)."""
    return box(b"cdef", struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHH", *each) for each in entries))


def test_what_has_no_unusual_boxes_is_as_it_is(tmp_path: Path) -> None:
    assert difference(levels_of(jp2(scene()), tmp_path), levels(scene())) < 0.6
    assert difference(levels_of(jp2(grey_scene(), space=GREY), tmp_path), levels(grey_scene())) < 0.6


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_components_in_another_order_are_put_right(order: tuple[int, ...], tmp_path: Path) -> None:
    entries = [(at, 0, colour + 1) for at, colour in enumerate(order)]
    data = jp2(scene()[..., order], definitions(*entries))
    assert difference(levels_of(data, tmp_path), levels(scene())) < 0.6


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [1, 2], ids=["plain", "premultiplied"])
def test_a_jp2_that_is_seen_through_is_laid_on_white(kind: int, bits: int, tmp_path: Path) -> None:
    alpha = np.full((96, 160, 1), 255.0)
    alpha[:48] = 51
    colours = scene().astype(float)
    stored = np.dstack([colours * alpha / 255 if kind == 2 else colours, alpha]) / 255 * (2**bits - 1)
    samples = np.rint(stored).astype(np.uint16 if bits == 16 else np.uint8)
    data = jp2(samples, definitions((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, kind, 0)), bits=bits)
    assert look_of(data, tmp_path).is_transparent
    assert difference(levels_of(data, tmp_path), levels(colours * alpha / 255 + 255 - alpha)) < 1.0


def test_the_opacity_may_be_the_first_component(tmp_path: Path) -> None:
    samples = np.dstack([np.full((96, 160, 1), 255, np.uint8), scene()])
    data = jp2(samples, definitions((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3)))
    assert difference(levels_of(data, tmp_path), levels(scene())) < 0.6


def test_luma_and_chroma_become_colours(tmp_path: Path) -> None:
    red, green, blue = np.moveaxis(scene().astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    samples = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=-1)
    data = jp2(np.clip(np.rint(samples), 0, 255).astype(np.uint8), space=SYCC)
    assert difference(levels_of(data, tmp_path), levels(scene())) < 1.5
    assert read_header(tmp_path / "picture").colour is Colour.YCBCR


@pytest.mark.parametrize("bits", [1, 4, 10, 12, 16])
def test_samples_of_any_depth_fill_the_range(bits: int, tmp_path: Path) -> None:
    shades = grey_scene().astype(float)
    samples = np.rint(shades / 255 * (2**bits - 1)).astype(np.uint16 if bits > 8 else np.uint8)
    data = jp2(samples, bits=bits, space=GREY)
    shown = samples / (2**bits - 1) * 255
    assert difference(levels_of(data, tmp_path), levels(shown)) < 0.6


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    palette = np.random.default_rng(4).integers(0, 256, (256, 3), dtype=np.uint8)
    pclr = box(b"pclr", struct.pack(">HB3B", 256, 3, 7, 7, 7) + palette.tobytes())
    cmap = box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3)))
    data = jp2(grey_scene(), pclr, cmap)
    assert difference(levels_of(data, tmp_path), levels(palette[grey_scene()[..., 0]])) < 0.6


def test_a_profile_of_srgb_changes_nothing(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert difference(levels_of(jp2(scene(), profile=profile), tmp_path), levels(scene())) < 1.0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (jp2(scene(), box(b"pclr", b"\0\0\0")), "image_unreadable"),
        (jp2(scene(), box(b"cdef", b"")), "image_unreadable"),
        (jp2(np.dstack([scene(), grey_scene()]), space=12), None),
        (jp2(np.dstack([scene(), grey_scene()]), space=99), "image_unsupported"),
        (jp2(scene(), space=14), "image_unsupported"),
    ],
)
def test_boxes_that_are_broken_or_unknown_have_a_reason(data: bytes, code: str | None, tmp_path: Path) -> None:
    path = tmp_path / "odd.jp2"
    path.write_bytes(data)
    if code is None:
        fingerprint(path)
        return
    with pytest.raises(PermanentError) as caught:
        fingerprint(path)
    assert caught.value.code == code
