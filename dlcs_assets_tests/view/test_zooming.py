"""Which part of a picture is seen, and where each step leads."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.view.pictures import LARGEST, Region
from dlcs_assets.view.zooming import WINDOW, View, lowest

SIZES = st.builds(Size, st.integers(1, 60_000), st.integers(1, 60_000))
NUMBERS = st.none() | st.integers(0, 2**31 - 1)


@given(size=SIZES, level=NUMBERS, x=NUMBERS, y=NUMBERS)
def test_a_view_is_inside_the_picture_wherever_one_looks(
    size: Size, level: int | None, x: int | None, y: int | None
) -> None:
    view = View.of(size, level, x, y)
    for each in (view, *filter(None, view.steps().values())):
        region = each.region
        assert 0 <= region.left <= region.left + region.width <= size.width
        assert 0 <= region.top <= region.top + region.height <= size.height
        assert 1 <= region.shown.width <= min(WINDOW.width, region.width)
        assert 1 <= region.shown.height <= WINDOW.height
        assert each == each.inside()


@given(size=SIZES, corner=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)), part=SIZES, to=SIZES)
def test_no_address_asks_for_much(size: Size, corner: tuple[int, int], part: Size, to: Size) -> None:
    region = Region.within(size, corner, part, to)
    assert 0 <= region.left < region.left + region.width <= size.width
    assert 0 <= region.top < region.top + region.height <= size.height
    assert 1 <= region.shown.width <= min(LARGEST, to.width, region.width)
    assert 1 <= region.shown.height <= min(LARGEST, to.height, region.height)


@pytest.mark.parametrize("size", [Size(3000, 2000), Size(1201, 10), Size(40_000, 60_000)])
def test_steps_lead_everywhere(size: Size) -> None:
    """At the closest level, the views that right and down lead to cover the picture."""
    assert View.of(size, None, None, None).region.width == size.width
    view = View.of(size, 0, 0, 0)
    rows = [view]
    while (down := rows[-1].steps()["down"]) is not None:
        rows.append(down)
    row = [view]
    while (right := row[-1].steps()["right"]) is not None:
        row.append(right)
    for before, after in itertools.pairwise(row):
        assert after.region.left <= before.region.left + before.region.width
    for before, after in itertools.pairwise(rows):
        assert after.region.top <= before.region.top + before.region.height
    assert row[-1].region.left + row[-1].region.width == size.width
    assert rows[-1].region.top + rows[-1].region.height == size.height


def test_a_small_picture_is_shown_as_it_is() -> None:
    size = Size(300, 200)
    assert lowest(size) == 0
    view = View.of(size, 7, None, None)
    assert (view.region.shown, set(view.steps().values())) == (size, {None})
