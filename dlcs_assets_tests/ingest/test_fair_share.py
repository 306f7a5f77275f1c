from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from dlcs_assets.defs.sensors.dispatch import FIRST_RUN_BOOST, PRIORITIES, plan_chunks
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.ingest.fair_share import Allotment, allocate, allot
from dlcs_assets.ledger.records import Chunk, DueImage

ALL = frozenset(STAGES)


@dataclass
class Backlog:
    """Images that are due, by customer, in chunks of one image."""

    of: dict[int, int]
    asked: int = 0

    def offer(self, turn: Allotment) -> list[Chunk]:
        self.asked += 1
        count = min(self.of.get(turn.customer, 0), turn.max_chunks)
        images = [DueImage(f"r{n}", AssetId(turn.customer, 1, f"i{n}"), ALL, None) for n in range(count)]
        return plan_chunks(images, Lane.INGEST, 1)


def allotted(
    due: Mapping[int, int] | Backlog,
    in_flight: Mapping[tuple[Lane, int], int] | None = None,
    *,
    lane: Lane = Lane.INGEST,
    most: int = 4,
    limits: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Return how many new chunks each customer gets of those that it has due."""
    backlog = due if isinstance(due, Backlog) else Backlog(dict(due))
    allotments = allot(lane, [*backlog.of], in_flight or {}, max_in_lane=most, limit_of=(limits or {}).get)
    return dict(Counter(chunk.customer for chunk in allocate(allotments, backlog.offer)))


def order_of(customers: Sequence[int], in_flight: Mapping[tuple[Lane, int], int]) -> list[int]:
    allotments = allot(Lane.INGEST, customers, in_flight, max_in_lane=9, limit_of=lambda _: None)
    return [turn.customer for turn in allotments.order]


def test_a_single_customer_gets_all_runs_of_the_lane() -> None:
    assert allotted({2: 100}) == {2: 4}
    assert allotted({2: 100}, {(Lane.INGEST, 2): 3}) == {2: 1}
    assert allotted({2: 100}, {(Lane.INGEST, 2): 4}) == {}


def test_runs_are_shared_out_whatever_one_customer_has_due() -> None:
    assert allotted({2: 50_000, 12: 3}) == {2: 2, 12: 2}
    assert allotted({2: 100, 12: 100, 22: 100}) == {2: 2, 12: 1, 22: 1}


def test_a_customer_with_less_in_flight_comes_first() -> None:
    """Runs of the same lane count, and otherwise the order of the ledger is kept."""
    assert order_of([2, 12, 22], {}) == [2, 12, 22]
    assert order_of([2, 12, 22], {(Lane.INGEST, 2): 2, (Lane.INGEST, 12): 1, (Lane.RETRY, 22): 5}) == [22, 12, 2]
    assert allotted({2: 100, 12: 100}, {(Lane.INGEST, 2): 3}) == {12: 1}


def test_a_full_lane_takes_one_run_of_each_customer_without_any() -> None:
    """One customer's large ingest must not keep others out of the lane until it has ended."""
    full = {(Lane.INGEST, 2): 4}
    assert allotted({2: 100, 12: 5}, full) == {12: 1}
    assert allotted({2: 100, 12: 5, 22: 5}, full) == {12: 1, 22: 1}
    assert allotted({12: 5}, {**full, (Lane.INGEST, 12): 1}) == {}


def test_a_lane_is_never_more_than_twice_as_full_as_it_should_be() -> None:
    newcomers = dict.fromkeys(range(10, 30), 5)
    assert sum(allotted(newcomers, {(Lane.INGEST, 2): 4}).values()) == 4
    assert allotted(newcomers, {(Lane.INGEST, 2): 8}) == {}


def test_backfills_of_all_customers_stay_within_their_limit() -> None:
    assert allotted({2: 100, 12: 100, 22: 100}, lane=Lane.BACKFILL, most=2) == {2: 1, 12: 1}
    assert allotted({12: 100}, {(Lane.BACKFILL, 2): 2}, lane=Lane.BACKFILL, most=2) == {}
    assert allotted({12: 100}, {(Lane.INGEST, 2): 4}, lane=Lane.BACKFILL, most=2) == {12: 2}


def test_the_limit_of_a_customer_spans_all_lanes_but_urgent_ones() -> None:
    """Runs of the priority and delete lanes neither count nor are held back."""
    in_flight = {(Lane.BACKFILL, 2): 1, (Lane.PRIORITY, 2): 3, (Lane.DELETE, 2): 2}
    assert allotted({2: 100}, in_flight, limits={2: 3}) == {2: 2}
    assert allotted({2: 100}, {**in_flight, (Lane.RETRY, 2): 2}, limits={2: 3}) == {}
    assert allotted({2: 100}, in_flight, limits={2: 1}, lane=Lane.PRIORITY) == {2: 1}


def test_what_the_limit_of_a_customer_leaves_goes_to_others() -> None:
    """A customer at its limit is reported, and its share of the lane must not stay unused."""
    allotments = allot(Lane.INGEST, [2, 12], {(Lane.BACKFILL, 2): 2}, max_in_lane=4, limit_of={2: 2}.get)
    assert allotments.at_limit == (2,)
    assert [(turn.customer, turn.max_chunks) for turn in allotments.order] == [(12, 4)]


def test_a_customer_whose_images_are_all_held_takes_no_share() -> None:
    """It has images due, but none that can be dispatched: the next customer gets the run."""
    assert allotted({2: 0, 12: 5}, most=1) == {12: 1}


def test_no_more_customers_are_queried_than_runs_are_allowed() -> None:
    backlog = Backlog(dict.fromkeys(range(500), 5))
    assert sum(allotted(backlog).values()) == 8
    assert backlog.asked == 8


@pytest.mark.parametrize("due", [{}, {2: 0}])
def test_where_nothing_is_due_nothing_is_allotted(due: dict[int, int]) -> None:
    assert allotted(due) == {}


def test_dagster_runs_urgent_lanes_first_and_backfills_last() -> None:
    """Even the first run of a customer in a lane comes after all runs of a more urgent lane."""
    assert set(PRIORITIES) == set(Lane)
    ranked = [Lane.PRIORITY, Lane.INGEST, Lane.RETRY, Lane.BACKFILL]
    # Even the first run of a customer in a lane comes after all those of a better one.
    assert all(PRIORITIES[better] > PRIORITIES[worse] + FIRST_RUN_BOOST for better, worse in pairwise(ranked))
    assert min(PRIORITIES, key=lambda lane: PRIORITIES[lane]) is Lane.BACKFILL


def size(due: int, customers: int = 1, *, most: int = 200, room: int = 4) -> int:
    """Return how large the chunks of the first of so many customers are, which has so much due."""
    allotments = allot(Lane.INGEST, range(2, 2 + customers), {}, max_in_lane=room, limit_of=lambda _: None)
    return allotments.images_in_chunk(due, allotments.order[0].max_chunks, most=most)


@pytest.mark.parametrize(
    ("due", "images"),
    [(1, 10), (25, 25), (26, 13), (50, 25), (100, 25), (101, 26), (400, 100), (800, 200), (9000, 200)],
)
def test_the_size_of_a_chunk_follows_the_backlog(due: int, images: int) -> None:
    """Few images go into few runs, more are divided among those that may begin, many fill them."""
    assert size(due) == images


def test_no_chunk_is_larger_than_the_setting() -> None:
    assert size(9000, most=30) == 30
    assert size(3, most=4) == 4


def test_chunks_are_smaller_while_more_customers_wait() -> None:
    """However many they are, a customer's turn comes round after about as many images."""
    assert [size(9000, customers) for customers in (2, 4, 8, 16, 80, 900)] == [200, 200, 200, 100, 20, 10]
    assert size(9000, 900, most=4) == 4
