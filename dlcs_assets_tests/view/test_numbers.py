"""Bars that are counted once, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest

from dlcs_assets.domain.request_states import ShownState
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.rates import Ended, Rates
from dlcs_assets.view.numbers import Numbers, Period
from dlcs_assets.view.plots import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Plot, lines, nice_ceiling, stacked

NOW = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Counted(Rates):
    """Counts one image in each time, and notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[datetime, datetime]] = []

    def ended(self, since: datetime, until: datetime) -> Ended:
        self.asked.append((since, until))
        return Ended({ShownState.DONE: 1})

    def seconds(self, since: datetime, until: datetime) -> dict[Stage, float]:
        return {Stage.JP2: (until - since).total_seconds()}


@pytest.mark.parametrize("period", list(Period))
def test_bars_follow_each_other_up_to_now(period: Period) -> None:
    rates = Counted()
    bars = Numbers(lambda: 0).bars(rates, period, NOW)
    asked = rates.asked[::-1]
    assert [bar.since for bar in bars if bar] == [since for since, _ in asked]
    assert all(before[1] == after[0] for before, after in pairwise(asked))
    assert asked[-1][0] <= NOW < asked[-1][1]
    whole = {Period.HOUR: timedelta(hours=1), Period.DAY: timedelta(days=1), Period.MONTH: timedelta(days=30)}
    assert asked[-1][1] - asked[0][0] == whole[period]


def test_what_is_over_is_counted_once() -> None:
    """The bar in which it is now is counted each time, and so are those in which runs have just ended."""
    rates, numbers = Counted(), Numbers(lambda: 0)
    first = numbers.bars(rates, Period.HOUR, NOW)
    rates.asked.clear()
    assert numbers.bars(rates, Period.HOUR, NOW) == first
    assert [since for since, _ in rates.asked] == [first[-1 - number].since for number in range(3)]  # type: ignore[union-attr] # all are there


def test_a_page_counts_no_longer_than_it_may() -> None:
    """The next one continues: the newest bars are there first."""

    def clock() -> Iterator[float]:
        yield from (number * 0.1 for number in count())

    ticks = clock()
    rates, numbers = Counted(), Numbers(lambda: next(ticks))
    first = numbers.bars(rates, Period.MONTH, NOW)
    assert 0 < sum(bar is not None for bar in first) < 20
    assert first[-1] is not None
    for _ in range(20):
        bars = numbers.bars(rates, Period.MONTH, NOW)
    assert None not in bars


def drawn_within(plot: Plot) -> bool:
    rects = all(
        LEFT <= part.x <= part.x + part.width <= WIDTH
        and TOP <= part.y <= part.y + part.height <= HEIGHT - BOTTOM + 0.1
        for part in plot.parts
    )
    points = [tuple(map(float, point.split(","))) for line in plot.lines for point in line.points.split()]
    return rects and all(LEFT <= x <= WIDTH and TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1 for x, y in points)


def test_bars_are_as_high_as_their_numbers() -> None:
    series = [(NOW, {"done": 5.0, "failed": 5.0}), (NOW + MINUTE, {"done": 2.5}), (NOW + 2 * MINUTE, None)]
    plot = stacked("Images", "a minute", ["done", "failed"], series, MINUTE)
    assert [(part.of, part.height) for part in plot.parts] == [(0, 92.5), (1, 92.5), (0, 46.25)]
    assert plot.parts[1].y == TOP
    assert plot.summary == "Images, a minute; at most 5 done, 5 failed"
    assert [label.text for label in plot.up] == ["0", "5", "10"]
    assert drawn_within(plot)


def test_a_line_is_broken_where_nothing_is_known() -> None:
    values = [1.0, 2.0, None, 4.0]
    series = [(NOW + number * MINUTE, {"jp2": value} if value else None) for number, value in enumerate(values)]
    plot = lines("Time", "seconds", ["jp2"], series, MINUTE)
    assert [len(line.points.split()) for line in plot.lines] == [2, 2]
    assert drawn_within(plot)


def test_where_there_is_nothing_it_is_said() -> None:
    plot = stacked("Images", "a minute", ["done"], [(NOW, {}), (NOW, None)], MINUTE)
    assert (plot.is_empty, plot.summary) == (True, "Images: nothing in this time.")
    assert lines("Time", "seconds", [], [], MINUTE).is_empty


@pytest.mark.parametrize(("most", "ceiling"), [(0, 1), (0.3, 0.5), (1, 1), (1.01, 2), (7, 10), (12, 20), (50, 50)])
def test_an_axis_ends_at_a_round_number(most: float, ceiling: float) -> None:
    assert nice_ceiling(most) == pytest.approx(ceiling)
