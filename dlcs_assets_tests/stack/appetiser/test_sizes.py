from __future__ import annotations

import re

import pytest

from dlcs_stack.appetiser.sizes import SIZE_PATTERN, thumbnail_size, thumbnail_sizes


@pytest.mark.parametrize("size", ["400,", ",400", "400,400", "^400,400", "^400,", "^,400", "!400,400"])
def test_the_sizes_that_appetiser_accepts_are_accepted(size: str) -> None:
    assert re.search(SIZE_PATTERN, size)


@pytest.mark.parametrize(
    "size", ["max", "!400,", "!,400", "^!400,", "pct:50", ",", "400", "", "0,", "!0,10", "-4,", "4.5,"]
)
def test_sizes_of_other_forms_and_of_no_pixels_are_refused(size: str) -> None:
    assert not re.search(SIZE_PATTERN, size)


def test_an_enlarging_box_is_accepted_as_in_policies() -> None:
    """Appetiser itself answers 422, and every ingest with such a policy fails there."""
    # Appetiser answers 422 to it, and every ingest with such a policy fails.
    assert re.search(SIZE_PATTERN, "^!400,400")
    assert thumbnail_size("^!400,400", 100, 50) == (400, 200)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1609, 2398, (671, 1000)),
        (1408, 2484, (567, 1000)),
        (1864, 2638, (707, 1000)),
    ],
)
def test_a_square_box_gives_what_appetiser_gives(width: int, height: int, expected: tuple[int, int]) -> None:
    assert thumbnail_size("!1000,1000", width, height) == expected


@pytest.mark.parametrize(
    ("box", "image", "expected"), [("!100,100", (100, 200), (50, 100)), ("!100,100", (100, 300), (33, 100))]
)
def test_a_portrait_is_scaled_by_its_height(box: str, image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail_size(box, *image) == expected


@pytest.mark.parametrize(
    ("size", "image", "expected"),
    [
        # Appetiser scales by one edge only: 1342 x 2000, and 500 x 250.
        ("!1000,2000", (1609, 2398), (1000, 1490)),
        ("!500,50", (200, 100), (100, 50)),
    ],
)
def test_a_box_that_is_not_square_is_not_exceeded(size: str, image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail_size(size, *image) == expected


@pytest.mark.parametrize("size", ["!100,80", "!200,200", "100,", "101,", ",80", "100,80", "200,90"])
def test_a_size_that_does_not_make_the_image_smaller_is_dropped(size: str) -> None:
    assert thumbnail_size(size, 100, 80) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [("200,40", (100, 40)), ("50,500", (50, 80)), ("50,40", (50, 40)), ("^200,500", (200, 500)), ("^50,", (50, 40))],
)
def test_edges_beyond_the_image_are_cut_to_it_without_a_caret(size: str, expected: tuple[int, int]) -> None:
    assert thumbnail_size(size, 100, 80) == expected


@pytest.mark.parametrize("size", ["^200,", "^,160", "^200,160", "^!200,160"])
def test_a_caret_enlarges(size: str) -> None:
    assert thumbnail_size(size, 100, 80) == (200, 160)


@pytest.mark.parametrize(
    ("size", "image", "expected"), [("!100,100", (5000, 10), (100, 1)), (",10", (3, 4000), (1, 10))]
)
def test_no_edge_is_empty(size: str, image: tuple[int, int], expected: tuple[int, int]) -> None:
    # Appetiser rounds to 0 and answers 500.
    assert thumbnail_size(size, *image) == expected


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    assert thumbnail_size("50,", 100, 25) == (50, 12)
    assert thumbnail_size("50,", 100, 27) == (50, 14)


def test_thumbnails_come_once_each_and_widest_first() -> None:
    assert thumbnail_sizes(["!100,100", "400,", "100,", "^!400,400", "9000,"], 1000, 500) == [(400, 200), (100, 50)]
