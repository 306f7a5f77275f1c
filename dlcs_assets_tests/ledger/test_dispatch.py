from __future__ import annotations

from datetime import timedelta

from dlcs_assets.domain.stages import Lane
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk, end_chunk


def test_what_is_reserved_is_not_due_again(desk: Desk) -> None:
    desk.send("2/1/a")
    assert desk.reserve() is not None
    assert desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW) == []


def test_a_lane_sees_its_own_images_only(desk: Desk) -> None:
    desk.send("2/1/a", lane=Lane.PRIORITY)
    assert desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW) == []
    assert len(desk.ledger.dispatch.due([Lane.PRIORITY], limit=10, now=NOW)) == 1


def test_a_chunk_is_an_outbox_until_its_run_is_known(desk: Desk) -> None:
    desk.send("2/1/a")
    chunk = desk.reserve()
    assert chunk is not None
    assert [open_.id for open_ in desk.ledger.dispatch.unlaunched([Lane.INGEST])] == [chunk.id]
    desk.ledger.dispatch.mark_launched(chunk.id, chunk.id)
    assert desk.ledger.dispatch.unlaunched([Lane.INGEST]) == []
    assert desk.ledger.dispatch.in_flight() == {(Lane.INGEST, 2): 1}
    end_chunk(desk.ledger, chunk)
    assert desk.ledger.dispatch.in_flight() == {}


def test_unclaimed_images_of_an_ended_chunk_are_due_again(desk: Desk) -> None:
    """A run that ended before it claimed its images must not leave them reserved."""
    desk.send("2/1/a")
    chunk = desk.reserve()
    assert chunk is not None
    end_chunk(desk.ledger, chunk)
    assert len(desk.ledger.dispatch.due([Lane.RETRY], limit=10, now=NOW)) == 1


def test_a_lease_has_one_holder_and_runs_out(desk: Desk) -> None:
    dispatch = desk.ledger.dispatch
    with dispatch.lease("name") as first, dispatch.lease("name") as second:
        assert (first, second) == (True, False)
    with dispatch.lease("name", ttl=timedelta(seconds=-1)) as expired, dispatch.lease("name") as next_:
        assert (expired, next_) == (True, True)


def test_a_passing_failure_is_due_after_a_delay_that_doubles() -> None:
    assert SCHEDULE.next_due(NOW, 1) == NOW + timedelta(seconds=60)
    assert SCHEDULE.next_due(NOW, 3) == NOW + timedelta(seconds=240)
    assert SCHEDULE.next_due(NOW, 50) == NOW + timedelta(hours=1)
    assert SCHEDULE.next_due(NOW, 1, timedelta(hours=2)) == NOW + timedelta(hours=2)
