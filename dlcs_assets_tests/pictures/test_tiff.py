"""TIFFs of many layouts, written byte by byte, against the pixels that were put into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 (made of pixels)
import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.pictures.header import Colour, SampleKind
from dlcs_assets.pictures.reading import fingerprint, read_header
from dlcs_assets.pictures.tiff import choose_page
from dlcs_assets_tests.pictures.prints import difference, grey_scene, levels, levels_of, look_of, scene
from dlcs_testing.raw_tiff import BYTE, LONG, SHORT, RawPage, raw_tiff
from dlcs_testing.sample_tiff import (
    CMYK,
    COLOUR_MAP,
    EXTRA_SAMPLES,
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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16, 32])
@pytest.mark.parametrize("colours", ["grey", "RGB"])
def test_samples_of_any_depth_and_order_are_read(
    order: str, planar: bool, bits: int, colours: str, tmp_path: Path
) -> None:
    pixels = scene() if colours == "RGB" else grey_scene()
    samples = np.rint(pixels.astype(np.float64) / 255 * (2**bits - 1)).astype(np.uint64)
    page = Page(samples, RGB if colours == "RGB" else MIN_IS_BLACK, bits, planar and colours == "RGB")
    assert difference(levels_of(tiff(page, order=order), tmp_path), levels(pixels)) < 0.6


@pytest.mark.parametrize("layout", [{"rows_per_strip": 7}, {"rows_per_strip": 96}, {"tile": 32}, {"tile": 64}])
@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
def test_strips_and_tiles_are_put_together(layout: dict[str, int], planar: bool, tmp_path: Path) -> None:
    page = Page(scene(), planar=planar, **layout)  # type: ignore[arg-type]  # the two options are of one type
    assert difference(levels_of(tiff(page), tmp_path), levels(scene())) < 0.6


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_bigtiff_is_read_and_named(order: str, tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    path.write_bytes(tiff(Page(scene()), order=order, big=True))
    assert read_header(path).variant == "BigTIFF"
    assert difference(levels_of(path.read_bytes(), tmp_path), levels(scene())) < 0.6


@pytest.mark.parametrize("kind", [SHORT, BYTE, LONG])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_turned_tiff_is_seen_upright(orientation: int, kind: int, channels: int, tmp_path: Path) -> None:
    stored = {1: grey_scene(), 3: scene(), 4: np.dstack([scene(), np.full((96, 160, 1), 255, np.uint8)])}[channels]
    tags: dict[int, Any] = {ORIENTATION: (kind, [orientation])}
    if channels == 4:
        tags[EXTRA_SAMPLES] = (SHORT, [2])
    data = tiff(Page(stored, MIN_IS_BLACK if channels == 1 else RGB, tags=tags))
    upright = stored[..., :3]
    if orientation >= 5:
        upright = upright.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        upright = upright[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        upright = upright[::-1]
    assert difference(levels_of(data, tmp_path), levels(upright)) < 0.6
    header = read_header(tmp_path / "picture")
    assert (header.width, header.height) == (upright.shape[1], upright.shape[0])


def test_black_and_white_are_where_the_tags_say(tmp_path: Path) -> None:
    bits = (grey_scene() > 127).astype(np.uint8)
    for photometric, white in ((MIN_IS_BLACK, 1), (MIN_IS_WHITE, 0)):
        data = tiff(Page(bits, photometric, 1))
        assert difference(levels_of(data, tmp_path), levels((bits == white) * np.uint8(255))) < 0.6
    assert read_header(tmp_path / "picture").colour is Colour.BILEVEL


@pytest.mark.parametrize("depth", [8, 16])
def test_a_palette_of_8_or_16_bits_is_read(depth: int, tmp_path: Path) -> None:
    palette = np.random.default_rng(3).integers(0, 256, (256, 3), dtype=np.uint16)
    index = grey_scene()
    colours = palette.T.ravel() * (257 if depth == 16 else 1)
    data = tiff(Page(index, PALETTE, tags={COLOUR_MAP: (SHORT, [int(each) for each in colours])}))
    assert difference(levels_of(data, tmp_path), levels(palette[index[..., 0]])) < 0.6


@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
def test_ink_without_a_profile_is_subtracted(planar: bool, tmp_path: Path) -> None:
    """Of each ink what it leaves, times what black leaves."""
    inks = np.dstack([scene(2), grey_scene(3) // 2])
    light = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    assert difference(levels_of(tiff(Page(inks, CMYK, planar=planar)), tmp_path), levels(light)) < 1.0


@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [1, 2], ids=["premultiplied", "plain"])
def test_transparent_parts_are_laid_on_white(kind: int, bits: int, planar: bool, tmp_path: Path) -> None:
    alpha = np.full((96, 160, 1), 255.0)
    alpha[:48, :80] = 0
    alpha[48:, 80:] = 102
    colours = scene().astype(np.float64)
    shown = colours * alpha / 255 + 255 - alpha
    stored = np.dstack([colours * alpha / 255 if kind == 1 else colours, alpha])
    samples = np.rint(stored / 255 * (2**bits - 1)).astype(np.uint64)
    data = tiff(Page(samples, bits=bits, planar=planar, tags={EXTRA_SAMPLES: (SHORT, [kind])}))
    look = look_of(data, tmp_path)
    assert look.is_transparent
    assert difference(levels_of(data, tmp_path), levels(shown)) < 1.0


def test_a_sample_that_is_no_alpha_is_left_out(tmp_path: Path) -> None:
    samples = np.dstack([scene(), grey_scene(5)])
    data = tiff(Page(samples, tags={EXTRA_SAMPLES: (SHORT, [0])}))
    assert difference(levels_of(data, tmp_path), levels(scene())) < 0.6
    assert not look_of(data, tmp_path).is_transparent


def test_floats_from_0_to_1_are_levels_and_others_refused(tmp_path: Path) -> None:
    data = tiff(Page((scene() / 255).astype(np.float32), bits=32))
    assert difference(levels_of(data, tmp_path), levels(scene())) < 0.6
    assert read_header(tmp_path / "picture").samples is SampleKind.FLOAT
    for samples in (scene().astype(np.float32), np.full((96, 160, 3), np.nan, np.float32)):
        with pytest.raises(PermanentError, match="not all between 0 and 1") as caught:
            look_of(tiff(Page(samples, bits=32)), tmp_path)
        assert caught.value.code == "image_unsupported"


def test_lab_is_shown_in_srgb(tmp_path: Path) -> None:
    """The values are those of a table of colours, not of a library."""
    known = {(53.24, 80.09, 67.2): (255, 0, 0), (87.73, -86.18, 83.18): (0, 255, 0), (100, 0, 0): (255, 255, 255)}
    for (lightness, red_green, yellow_blue), rgb in known.items():
        lab = (round(lightness * 2.55), round(red_green) % 256, round(yellow_blue) % 256)
        data = tiff(Page(np.full((32, 32, 3), lab, np.uint8), LAB))
        # The table is for D65, and TIFF for D50: some colours of it are just outside of what is shown.
        assert difference(levels_of(data, tmp_path), np.full((16, 16, 3), rgb)) < 16, rgb


@pytest.mark.parametrize(
    ("page", "what"),
    [
        (Page(np.dstack([grey_scene(), grey_scene(2)]), MIN_IS_BLACK, planar=True), "grey with transparency"),
        (Page(scene(), tags={339: (SHORT, [2, 2, 2])}), "signed samples"),
        (Page(scene(), tags={262: (SHORT, [4])}), "photometric interpretation"),
        (Page(scene(), tags={259: (SHORT, [34676])}), "LogLuv"),
        (Page(scene(), tags={258: (SHORT, [8, 8, 16])}), "different depths"),
        (Page(np.dstack([scene(), grey_scene()]), CMYK, tags={332: (SHORT, [2])}), "inks other than CMYK"),
    ],
)
def test_what_is_not_read_right_is_refused_by_name(page: Page, what: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(tiff(page))
    with pytest.raises(PermanentError, match=what) as caught:
        read_header(path)
    assert caught.value.code == "image_unsupported"


def test_jpeg_of_the_old_style_not_decoded_is_unsupported(tmp_path: Path) -> None:
    """Writers of it disagreed about where tables are: it need not be damaged."""
    path = tmp_path / "page.tif"
    path.write_bytes(raw_tiff(RawPage(16, 16, [8] * 3, 6, [bytes(64)], {259: (SHORT, [6])})))
    with pytest.raises(PermanentError, match="JPEG of the old style") as caught:
        fingerprint(path)
    assert caught.value.code == "image_unsupported"


def test_a_preview_before_the_picture_is_passed_over(tmp_path: Path) -> None:
    preview = Page(scene(7)[::4, ::4], tags={NEW_SUBFILE_TYPE: (LONG, [1])})
    data = tiff(preview, Page(scene()), Page(scene(9)))
    assert difference(levels_of(data, tmp_path), levels(scene())) < 0.6
    header = read_header(tmp_path / "picture")
    assert (header.width, header.height, header.page, header.pages) == (160, 96, 2, 3)


def test_the_first_page_that_is_no_copy_or_mask_is_read() -> None:
    assert choose_page([(0, 0, 10), (0, 0, 99)]) == 0
    assert choose_page([(1, 0, 10), (4, 0, 99), (0, 2, 99), (2, 3, 5)]) == 3
    assert choose_page([(1, 0, 10), (1, 0, 99), (5, 0, 50)]) == 1


def test_a_strip_that_is_missing_is_damage(tmp_path: Path) -> None:
    whole = tiff(Page(scene(), rows_per_strip=8))
    path = tmp_path / "cut.tif"
    path.write_bytes(whole[:8] + bytes(20000) + whole[20008:])
    fingerprint(path)  # zeros are pixels, too
    data = bytearray(whole)
    data[len(data) - 200 :] = b""
    path.write_bytes(bytes(data))
    with pytest.raises(PermanentError) as caught:
        fingerprint(path)
    assert caught.value.code in {"image_unreadable", "image_unsupported"}
