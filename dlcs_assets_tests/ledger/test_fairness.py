from __future__ import annotations

from datetime import timedelta

import pytest

from dlcs_assets.domain.errors import ServiceDownError, TransientError
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.ledger.records import Chunk, new_id
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk, end_chunk
from dlcs_testing.one_write import end_image

LATER = NOW + timedelta(hours=2)


def reserve(desk: Desk, customer: int, lane: Lane = Lane.INGEST) -> Chunk:
    """Reserve the image of the customer that is longest due."""
    due = desk.ledger.dispatch.due([lane], limit=1, now=NOW, customer=customer)
    planned = Chunk(new_id(), lane, customer, 1, frozenset(STAGES), "/first", "/last", tuple(due))
    (chunk,) = desk.ledger.dispatch.reserve([planned], NOW)
    return chunk


def customers_due(desk: Desk, lane: Lane = Lane.INGEST) -> list[int]:
    return desk.ledger.dispatch.customers_due(lane, now=NOW)


def test_only_customers_with_images_due_in_the_lane_are_listed(desk: Desk) -> None:
    desk.send("2/1/a", now=NOW - timedelta(minutes=1))
    desk.send("12/1/a", lane=Lane.BACKFILL)
    desk.send("22/1/later", now=LATER)
    desk.send("32/1/unregistered", None)
    assert customers_due(desk) == [2]
    assert customers_due(desk, Lane.BACKFILL) == [12]
    assert customers_due(desk, Lane.RETRY) == []


def test_the_customer_longest_without_a_chunk_comes_first(desk: Desk) -> None:
    """Whatever the age of their images: otherwise a customer with an old backlog would always be first."""
    for n in range(3):
        desk.send(f"2/1/{n}", now=NOW - timedelta(days=1))
        desk.send(f"12/1/{n}")
    assert customers_due(desk) == [2, 12]
    reserve(desk, 2)
    assert customers_due(desk) == [12, 2]
    reserve(desk, 12)
    assert customers_due(desk) == [2, 12]


def test_a_chunk_of_another_lane_does_not_change_the_order(desk: Desk) -> None:
    for image in ("2/1/a", "12/1/a"):
        desk.send(image)
    desk.send("2/1/again", lane=Lane.BACKFILL)
    reserve(desk, 2, Lane.BACKFILL)
    assert customers_due(desk) == [2, 12]


def test_due_images_of_one_customer_are_listed_longest_due_first(desk: Desk) -> None:
    """The limit applies to the customer's own images: a large backlog of another must not hide them."""
    for n in range(5):
        desk.send(f"2/1/{n}", now=NOW - timedelta(days=1))
    desk.send("12/1/b")
    desk.send("12/1/a", now=NOW - timedelta(hours=1))
    due = desk.ledger.dispatch.due([Lane.INGEST], limit=5, now=NOW, customer=12)
    assert [image.asset_id.asset for image in due] == ["a", "b"]


def test_open_chunks_are_counted_by_lane_and_customer(desk: Desk) -> None:
    for image in ("2/1/a", "2/1/b", "12/1/a"):
        desk.send(image)
    desk.send("2/1/c", lane=Lane.BACKFILL)
    closed = reserve(desk, 2)
    reserve(desk, 2)
    reserve(desk, 12)
    reserve(desk, 2, Lane.BACKFILL)
    end_chunk(desk.ledger, closed)
    assert desk.ledger.dispatch.in_flight() == {
        (Lane.INGEST, 2): 1,
        (Lane.INGEST, 12): 1,
        (Lane.BACKFILL, 2): 1,
    }


PASSING = [
    TransientError("origin_timeout", "The origin did not answer", remedy="Wait"),
    ServiceDownError("appetiser_unavailable", "Nothing answers", remedy="Start it"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("lane", "next_lane"),
    [(Lane.BACKFILL, Lane.BACKFILL), (Lane.INGEST, Lane.RETRY), (Lane.PRIORITY, Lane.RETRY)],
)
def test_only_a_backfill_is_tried_again_in_its_own_lane(
    desk: Desk, error: TransientError | ServiceDownError, lane: Lane, next_lane: Lane
) -> None:
    """A large backfill whose service is down would otherwise crowd out the retries of all others."""
    desk.send("2/1/a", lane=lane)
    claim = desk.claim(lane=lane)
    state = end_image(desk.ledger.results, claim, claim.items[0], error, schedule=SCHEDULE, now=NOW)
    assert state is RequestState.PENDING
    assert len(desk.ledger.dispatch.due([next_lane], limit=10, now=LATER)) == 1


def test_a_backfill_stays_in_its_lane_when_its_run_dies(desk: Desk) -> None:
    """Whether the run had begun it or not: in the retry lane it would crowd out others' retries."""
    desk.send("2/1/begun", lane=Lane.BACKFILL)
    claim = desk.claim(lane=Lane.BACKFILL)
    desk.send("2/1/unbegun", lane=Lane.BACKFILL)
    unbegun = desk.reserve(Lane.BACKFILL)
    assert unbegun is not None
    desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=NOW)
    end_chunk(desk.ledger, unbegun)
    due = desk.ledger.dispatch.due([Lane.BACKFILL], limit=10, now=NOW)
    assert sorted(image.asset_id.asset for image in due) == ["begun", "unbegun"]


@pytest.mark.parametrize(("first", "second"), [(Lane.BACKFILL, Lane.INGEST), (Lane.INGEST, Lane.BACKFILL)])
def test_an_image_that_arrives_during_a_backfill_is_due_once(desk: Desk, first: Lane, second: Lane) -> None:
    """It is done as an arrival, whichever came first: a backfill must not slow it down."""
    desk.send("2/1/a", lane=first)
    desk.send("2/1/a", lane=second)
    assert desk.ledger.dispatch.due([Lane.BACKFILL], limit=10, now=NOW) == []
    assert len(desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW)) == 1
