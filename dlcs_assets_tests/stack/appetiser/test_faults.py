"""The service with the faults of Appetiser itself, which tests of its clients count on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image  # noqa: TID253 (makes and checks pictures)

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.appetiser.faults import thumbnail_size
from dlcs_testing.appetiser_pictures import BLUE, RED, corners, near, quarters
from dlcs_testing.appetiser_service import Appetiser, served

ORIENTATION, QUARTER_TURN = 0x0112, 6


@pytest.fixture(scope="module")
def faulty() -> Iterator[Appetiser]:
    with served(AppetiserConfig(workers=1, faults=True)) as service:
        yield service


@pytest.mark.parametrize(
    ("box", "image", "expected"),
    [
        ("!1000,2000", (1609, 2398), (1342, 2000)),
        ("!500,50", (200, 100), (500, 250)),
        ("!100,100", (200, 100), (100, 50)),
        ("!100,100", (100, 200), (50, 100)),
        ("!400,400", (400, 300), None),
        ("300,", (200, 100), None),
        ("^300,20", (200, 100), (300, 20)),
    ],
)
def test_only_one_edge_of_a_box_is_respected(
    box: str, image: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    assert thumbnail_size(box, *image) == expected


def test_an_enlarging_box_is_refused(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    quarters().save(tmp_path / "page.png")
    sizes = ["!40,40", "^!400,400"]
    answer = faulty.convert(tmp_path / "page.png", None, thumb_dir, operation="derivatives-only", sizes=sizes)
    assert answer.status == 422
    (complaint,) = answer.body["detail"]
    assert (complaint["loc"], complaint["input"]) == (["body", "thumbIIIFSizes", 1], "^!400,400")


def test_thumbnails_without_a_jp2_are_not_turned(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    source = tmp_path / "page.jpg"
    quarters().save(source, exif=exif, quality=95)
    answer = faulty.convert(source, None, thumb_dir, operation="derivatives-only", sizes=["^96,64"])
    assert answer.size == (96, 64)
    assert near(corners(Path(answer.body["thumbs"][0]["path"]))[0], RED)


def test_with_a_jp2_they_are_turned_and_reported_as_before(faulty: Appetiser, tmp_path: Path, thumb_dir: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    source = tmp_path / "page.jpg"
    quarters().save(source, exif=exif, quality=95)
    answer = faulty.convert(source, tmp_path / "page.jp2", thumb_dir, operation="ingest", sizes=["^64,96"])
    assert answer.size == (96, 64)
    assert answer.thumbs == [(64, 96)]
    assert near(corners(Path(answer.body["thumbs"][0]["path"]))[0], BLUE)


@pytest.mark.parametrize(
    ("mode", "operation"), [("RGBA", "derivatives-only"), ("P", "derivatives-only"), ("P", "ingest")]
)
def test_unsupported_modes_fail(faulty: Appetiser, tmp_path: Path, thumb_dir: Path, mode: str, operation: str) -> None:
    quarters().convert(mode).save(tmp_path / "page.png")
    destination = tmp_path / "page.jp2" if operation == "ingest" else None
    answer = faulty.convert(tmp_path / "page.png", destination, thumb_dir, operation=operation, sizes=["^40,20"])
    assert answer.status == 500
    assert mode in answer.body["detail"]


def test_a_jp2_is_copied_only_if_it_has_the_suffix(faulty: Appetiser, tmp_path: Path) -> None:
    named, unnamed = tmp_path / "page.jp2", tmp_path / "original"
    quarters(600, 400).save(named, "JPEG2000", irreversible=False)
    unnamed.write_bytes(named.read_bytes())
    assert faulty.convert(named, tmp_path / "a.jp2").status == 200
    assert faulty.convert(unnamed, tmp_path / "b.jp2").status == 200
    assert (tmp_path / "a.jp2").read_bytes() == named.read_bytes()
    assert (tmp_path / "b.jp2").read_bytes() != named.read_bytes()
