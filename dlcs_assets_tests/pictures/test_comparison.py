"""Which renderings show the very picture, and what is seen in those that don't."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np  # noqa: TID253 (made of levels)
import pytest

from dlcs_assets.pictures.comparison import Difference, compare
from dlcs_assets.pictures.fingerprint import Fingerprint, turned
from dlcs_assets.pictures.reading import fingerprint
from dlcs_assets_tests.pictures.prints import scene
from dlcs_testing.pictures import encoded


def look(levels: Any, *, is_transparent: bool = False) -> Fingerprint:
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    rows, columns = pixels.shape[:2]
    return Fingerprint(columns, rows, columns, rows, pixels.tobytes(), is_transparent)


def picture(seed: int) -> Any:
    return scene(seed)[::6, ::10].astype(float)


def noisy(levels: Any, amount: float = 2.0) -> Any:
    return levels + np.random.default_rng(1).normal(0, amount, levels.shape)


@pytest.mark.parametrize("seed", range(12))
def test_the_same_picture_with_the_noise_of_a_codec_is_the_same(seed: int) -> None:
    assert compare(look(picture(seed)), look(noisy(picture(seed)))) is None


@pytest.mark.parametrize("seed", range(12))
def test_another_picture_is_another(seed: int) -> None:
    seen = compare(look(picture(seed)), look(picture(seed + 100)))
    assert seen
    assert seen.difference in {Difference.ANOTHER_PICTURE, Difference.COLOURS}


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("seed", range(4))
def test_every_turn_and_mirroring_is_seen(orientation: int, seed: int) -> None:
    seen = compare(look(picture(seed)), look(noisy(turned(picture(seed), orientation))))
    assert seen
    expected = Difference.MIRRORED if orientation in {2, 4, 5, 7} else Difference.TURNED
    assert seen.difference is expected


def faint(direction: int) -> Any:
    """Return a nearly even page that is a little darker towards one side."""
    return np.full((16, 16, 3), 220.0) - np.linspace(0, 12, 16)[:: direction or 1, None, None]


def test_a_faint_page_upside_down_is_turned() -> None:
    seen = compare(look(faint(1)), look(noisy(faint(-1), 0.3)))
    assert seen
    assert seen.difference in {Difference.TURNED, Difference.MIRRORED}
    assert compare(look(faint(1)), look(noisy(faint(1), 0.3))) is None


def test_what_looks_the_same_turned_is_not_turned() -> None:
    symmetric = picture(3) + picture(3)[::-1] + picture(3)[:, ::-1] + picture(3)[::-1, ::-1]
    assert compare(look(symmetric / 4), look(noisy(symmetric / 4))) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_one_of_a_picture_is_blank(level: int) -> None:
    seen = compare(look(picture(1)), look(np.full((16, 16, 3), level)))
    assert seen
    assert seen.difference is Difference.BLANK


@pytest.mark.parametrize("level", [0, 128, 250])
def test_a_blank_page_is_blank_and_of_its_own_level(level: int) -> None:
    page = look(np.full((16, 16, 3), level))
    assert compare(page, look(noisy(np.full((16, 16, 3), level), 0.5))) is None
    seen = compare(page, look(np.full((16, 16, 3), (level + 128) % 256)))
    assert seen


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1)])
def test_exchanged_colours_are_seen(order: tuple[int, int, int]) -> None:
    for seed in range(6):
        seen = compare(look(picture(seed)), look(noisy(picture(seed)[..., order])))
        assert seen


@pytest.mark.parametrize("seed", range(6))
def test_a_page_in_a_tint_with_red_and_blue_exchanged_is_seen(seed: int) -> None:
    """Parchment: every area has nearly the same colour."""
    shade = picture(seed).mean(axis=-1, keepdims=True) * 0.3 + 150
    page = shade * np.array([1.0, 0.9, 0.72])
    assert compare(look(page), look(noisy(page))) is None
    seen = compare(look(page), look(noisy(page[..., ::-1])))
    assert seen
    assert seen.difference is Difference.COLOURS


@pytest.mark.parametrize("seed", range(6))
def test_a_negative_is_seen(seed: int) -> None:
    seen = compare(look(picture(seed)), look(noisy(255 - picture(seed))))
    assert seen
    assert seen.difference in {Difference.NEGATIVE, Difference.COLOURS}


def test_a_grey_one_of_a_coloured_picture_is_in_other_colours() -> None:
    grey = picture(2).mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    seen = compare(look(picture(2)), look(noisy(grey)))
    assert seen
    assert seen.difference in {Difference.COLOURS, Difference.ANOTHER_PICTURE}


@pytest.mark.parametrize("gamma", [0.75, 1.3])
def test_another_tone_curve_is_the_same_picture(gamma: float) -> None:
    for seed in range(6):
        assert compare(look(picture(seed)), look(noisy(255 * (picture(seed) / 255) ** gamma))) is None


def test_a_profile_that_is_ignored_is_the_same_picture() -> None:
    """Colours of a wide profile, shown as they are, are duller."""
    for seed in range(6):
        mean = picture(seed).mean(axis=-1, keepdims=True)
        assert compare(look(picture(seed)), look(noisy(mean + 0.8 * (picture(seed) - mean)))) is None


def test_what_shines_through_a_transparent_part_is_named() -> None:
    source = picture(4)
    source[:, :8] = 255
    seen = compare(look(source, is_transparent=True), look(np.where(source == 255, 0, source)))
    assert seen
    assert seen.difference is Difference.TRANSPARENCY


@pytest.mark.parametrize("shape", [(1, 1), (1, 16), (16, 1), (2, 16), (3, 5)])
def test_pictures_of_few_pixels_are_compared_too(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(5).integers(0, 256, (*shape, 3)).astype(float)
    assert compare(look(levels), look(noisy(levels, 1))) is None
    assert compare(look(levels), look(np.full((*shape, 3), 255))) is not None


BUSY_THREADS = """
import time
import psutil
from dlcs_assets.pictures.comparison import compare
from dlcs_assets.pictures.reading import fingerprint
from dlcs_testing.pictures import jpeg

page, small = jpeg(1000, 1500), jpeg(683, 1024)
for _ in range(4):
    compare(fingerprint(page), fingerprint(small))
    time.sleep(0.15)
this = psutil.Process()
print(sum(thread.user_time for thread in this.threads() if thread.id != this.pid))
"""


def test_comparing_leaves_other_threads_idle() -> None:
    """Threads of a BLAS wait busily after each product of matrices, and take a processor from the other runs."""
    ran = subprocess.run([sys.executable, "-c", BUSY_THREADS], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 0.1  # of 0.6 s in which they could have waited


def test_stripes_that_a_small_rendering_blurs_are_the_same() -> None:
    """Found with a palette's test chart of another project."""
    stripes = np.zeros((128, 128, 3))
    for at, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)] * 4):
        stripes[:, 8 * at : 8 * at + 8] = colour
    source, rendering = fingerprint_of_pixels(stripes), fingerprint_of_pixels(stripes, (100, 100))
    assert compare(source, rendering) is None
    moved = np.roll(stripes, 8, axis=1)
    assert compare(source, fingerprint_of_pixels(moved, (100, 100)))


def test_a_nearly_empty_page_with_fainter_lines_is_the_same() -> None:
    """A codec leaves little of thin lines; what stands on the page remains."""
    page, other = np.full((400, 400, 3), 255.0), np.full((400, 400, 3), 255.0)
    page[200], page[:, 200] = 60, 60
    other[200], other[:, 200] = 255, 200
    for each in (page, other):
        each[215:220, 185:205] = each[225:250, 193:197] = 0
    assert compare(fingerprint_of_pixels(page), fingerprint_of_pixels(other)) is None
    elsewhere = np.full((400, 400, 3), 255.0)
    elsewhere[200], elsewhere[:, 200] = 60, 60
    elsewhere[115:120, 285:305] = elsewhere[125:150, 293:297] = 0
    assert compare(fingerprint_of_pixels(page), fingerprint_of_pixels(elsewhere))


def fingerprint_of_pixels(pixels: Any, size: tuple[int, int] | None = None) -> Fingerprint:
    from PIL import Image

    image = Image.fromarray(pixels.astype(np.uint8))
    return fingerprint(encoded(image.resize(size, Image.Resampling.LANCZOS) if size else image, "JPEG"))
