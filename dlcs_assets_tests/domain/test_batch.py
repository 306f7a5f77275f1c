from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from dlcs_assets.domain.batch import Batch, Tally, completed_notification

SUBMITTED = datetime(2026, 5, 4, 12, 0, 0, 120_000, tzinfo=UTC)
LATER = SUBMITTED + timedelta(hours=1)


def batch(count: int | None, tally: Tally, **more: datetime | bool) -> Batch:
    return Batch(12, 2, count, SUBMITTED, tally=tally, **more)  # type: ignore[arg-type] # of Batch's own fields


# The DLCS's own cases: errors and completed before, how one more image ends, the same two and the end then.
@pytest.mark.parametrize(
    ("count", "before", "image", "expected", "finished"),
    [
        (4, (1, 1), "failed", (2, 1), False),
        (3, (1, 0), "pending", (1, 0), False),
        (3, (1, 1), "failed", (2, 1), True),
    ],
)
def test_a_batch_ends_when_completed_and_errors_reach_its_count(
    count: int, before: tuple[int, int], image: str, expected: tuple[int, int], finished: bool
) -> None:
    states = {"pending": 0, **dict(zip(("failed", "done"), before, strict=True))}
    states[image] += 1
    tally = Tally.of_states(states)
    assert (tally.errors, tally.completed) == expected
    assert batch(count, tally).has_ended is finished


def test_listed_is_the_sum_of_all_others_whatever_the_states_are() -> None:
    states = {
        "waiting": 1,
        "pending": 2,
        "reserved": 4,
        "running": 8,
        "done": 16,
        "failed": 32,
        "rejected": 64,
    }
    tally = Tally.of_states(states, rejected_messages=128)
    assert (tally.done, tally.failed, tally.rejected, tally.pending, tally.running) == (16, 32, 192, 7, 8)
    assert tally.listed == sum(states.values()) + 128
    assert (tally.completed, tally.errors) == (16, 224)
    assert str(tally) == "255 listed = 16 done + 32 failed + 192 rejected + 15 pending (8 of them running)"


def test_rejected_messages_count_as_errors() -> None:
    assert batch(3, Tally(done=1, failed=1, rejected=1)).has_ended


def test_a_batch_larger_than_declared_ends_with_its_last_image() -> None:
    """It must not end as soon as as many images are done as were declared."""
    assert not batch(2, Tally(done=2, pending=1)).has_ended
    assert batch(2, Tally(done=3)).has_ended


@pytest.mark.parametrize("tally", [Tally(), Tally(done=3), Tally(failed=1)])
def test_a_batch_without_a_count_never_ends_and_says_so(tally: Tally) -> None:
    unknown = batch(None, tally)
    assert not unknown.has_ended
    assert unknown.not_received is None
    assert "the number of its images was not declared" in unknown.standing


def test_a_closed_batch_has_what_it_lists_whatever_was_declared() -> None:
    for declared in (None, 500):
        closed = batch(declared, Tally(done=2, rejected=1), closed_at=LATER)
        assert (closed.count, closed.not_received, closed.has_ended) == (3, 0, True)
        assert not batch(declared, Tally(done=2, running=1), closed_at=LATER).has_ended
    assert batch(None, Tally(), closed_at=LATER).has_ended


@pytest.mark.parametrize(
    ("asked", "standing"),
    [
        (batch(5, Tally(done=2, pending=1)), "open: 2 of 5 images have not been received yet"),
        (batch(3, Tally(done=2, pending=1)), "in progress"),
        (batch(3, Tally(done=3)), "all images have ended"),
        (batch(3, Tally(done=2, pending=1), finished_at=LATER), "finished"),
    ],
)
def test_the_state_of_a_batch_is_described_in_words(asked: Batch, standing: str) -> None:
    assert asked.standing == standing


def test_the_notification_has_the_format_of_the_dlcs() -> None:
    """Fields, their order and the times in UTC are what subscribers of the DLCS parse."""
    tally = Tally(done=9, failed=1)
    body = '{"id":12,"customer":2,"count":10,"completed":9,"errors":1,"superseded":false,'
    times = '"submitted":"2026-05-04T12:00:00.120000Z","finished":"2026-05-04T13:00:00Z"}'
    finished = datetime(2026, 5, 4, 15, 0, tzinfo=timezone(timedelta(hours=2)))
    assert completed_notification(batch(10, tally), finished) == body + times
    assert '"superseded":true' in completed_notification(batch(10, tally, superseded=True), finished)


def test_the_notification_of_a_closed_batch_counts_what_arrived() -> None:
    """Once a batch is closed, the count that was declared no longer applies."""
    closed = batch(500, Tally(done=2, failed=1), closed_at=LATER)
    assert '"count":3,"completed":2,"errors":1' in completed_notification(closed, LATER)
