from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: TID253 (these tests look at pictures)

from dlcs_stack.drawing.page import Layout, draw_page
from dlcs_stack.samples import DEFAULT_PLAN, PagePlan, draw_sample, samples

SMALL = (
    PagePlan("f001r", "jpg", 200, 300, Layout.MINIATURE),
    PagePlan("f001v", "tif", 180, 300, Layout.TEXT),
    PagePlan("f002r", "jp2", 200, 300, Layout.BORDER),
    PagePlan("f002v", "jpg", 200, 300, Layout.MUSIC, sideways=True),
    PagePlan("f003r", "jpg", 200, 300, Layout.TEXT, broken=True),
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("samples")
    samples(folder, SMALL)
    return folder


def test_each_whole_sample_has_its_size_and_format_upright(drawn: Path) -> None:
    """What the plan says of a sample is what the file is."""
    formats = {}
    for sample in samples(drawn, SMALL):
        if not sample.broken:
            with Image.open(sample.path) as image:
                formats[sample.name] = image.get_format_mimetype()
                assert ImageOps.exif_transpose(image).size == (sample.width, sample.height)
    assert formats == {"f001r": "image/jpeg", "f001v": "image/tiff", "f002r": "image/jp2", "f002v": "image/jpeg"}
    assert formats == {each.name: each.media_type for each in samples(drawn, SMALL) if not each.broken}


def test_the_sideways_page_is_stored_sideways(drawn: Path) -> None:
    with Image.open(samples(drawn, SMALL)[3].path) as image:
        assert image.size == (300, 200)


def test_the_broken_sample_is_a_jpeg_that_breaks_off(drawn: Path) -> None:
    (broken,) = [each for each in samples(drawn, SMALL) if each.broken]
    with Image.open(broken.path) as image:
        assert image.size == (200, 300)
        with pytest.raises(OSError, match="truncated") as error:
            image.load()
    assert not isinstance(error.value, UnidentifiedImageError)


def test_the_same_plan_gives_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    for sample, page in zip(samples(drawn, SMALL), SMALL, strict=True):
        assert draw_sample(tmp_path, page).read_bytes() == sample.path.read_bytes()


def test_pages_differ_from_each_other() -> None:
    first, second = (
        draw_page(100, 150, folio=1, recto=True, layout=Layout.TEXT, seed=seed).tobytes() for seed in (1, 2)
    )
    assert first != second


def test_kept_samples_are_not_drawn_again(drawn: Path) -> None:
    steps: list[tuple[int, int]] = []
    before = [each.path.stat().st_mtime_ns for each in samples(drawn, SMALL)]
    again = samples(drawn, SMALL, on_drawn=lambda *step: steps.append(step))
    assert steps == []
    assert [each.path.stat().st_mtime_ns for each in again] == before


@pytest.mark.parametrize("damage", ["a shorter file", "a missing file", "no manifest"])
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, damage: str) -> None:
    plan = SMALL[:1]
    (sample,) = samples(tmp_path, plan)
    whole = sample.path.read_bytes()
    match damage:
        case "a shorter file":
            sample.path.write_bytes(whole[:-100])
        case "a missing file":
            sample.path.unlink()
        case "no manifest":
            (sample.path.parent / "manifest.json").unlink()
    steps: list[tuple[int, int]] = []
    (again,) = samples(tmp_path, plan, on_drawn=lambda *step: steps.append(step))
    assert steps == [(1, 1)]
    assert again.path.read_bytes() == whole
    assert [each.name for each in tmp_path.iterdir()] == [sample.path.parent.name]


def test_another_plan_does_not_touch_the_samples_of_the_first(tmp_path: Path) -> None:
    (first,) = samples(tmp_path, SMALL[:1])
    (second,) = samples(tmp_path, (replace(SMALL[0], width=100, height=150),))
    assert first.path != second.path
    assert first.path.exists()


def test_the_manuscript_has_thirty_pages_one_of_them_broken() -> None:
    """They have 6 to 24 megapixels, three formats and all layouts: the demo must show the usual cases."""
    pixels = [page.width * page.height for page in DEFAULT_PLAN]
    formats = [page.extension for page in DEFAULT_PLAN]
    assert len({page.name for page in DEFAULT_PLAN}) == 30
    assert (min(pixels), max(pixels)) == (6_000_000, 24_000_000)
    assert sum(page.broken for page in DEFAULT_PLAN) == 1
    assert (formats.count("jpg"), formats.count("tif"), formats.count("jp2")) == (24, 3, 3)
    assert {page.layout for page in DEFAULT_PLAN} == set(Layout)
