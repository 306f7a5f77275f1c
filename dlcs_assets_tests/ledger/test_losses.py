"""A run that dies charges only the images that it had begun, and none of several; after that each goes alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, SELECT_ALL, Desk
from dlcs_testing.one_write import end_image

RUN = "run-1"
NAMES = ("a", "b", "c", "d", "e")
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def five(desk: Desk) -> Desk:
    """Five images are due."""
    for name in NAMES:
        desk.send(f"2/1/{name}")
    return desk


def seen(desk: Desk) -> dict[str, ImageStatus]:
    return {each.asset_id.rpartition("/")[2]: each for each in desk.ledger.reports.images(SELECT_ALL)}


def losses(desk: Desk, lane: Lane = Lane.RETRY, now: datetime = LATER) -> dict[str, int]:
    """Return the losses of what is due."""
    due = desk.ledger.dispatch.due([lane], limit=10, now=now)
    return {image.asset_id.asset: image.losses for image in due}


def attempts_on_record(desk: Desk, name: str) -> int:
    return len(desk.ledger.reports.attempts(str(seen(desk)[name].request_id)))


def lose(desk: Desk, run_id: str, schedule: RetrySchedule = SCHEDULE) -> None:
    desk.ledger.claims.release_run(run_id, schedule=schedule, now=NOW)


def test_what_a_lost_run_had_not_begun_is_as_it_was(five: Desk) -> None:
    """It has lost no attempt, has no reason of a failure, and is due at once."""
    five.claim(RUN, begin=2)
    lose(five, RUN)
    assert losses(five, now=NOW) == {"a": 1, "b": 1, "c": 0, "d": 0, "e": 0}
    for name in ("c", "d", "e"):
        status = seen(five)[name]
        assert (status.state, status.attempts, status.error_code) == ("pending", 0, None)
        assert attempts_on_record(five, name) == 0


def test_of_several_images_begun_none_loses_an_attempt(five: Desk) -> None:
    """At most one of them killed the run. All have it on record."""
    five.claim(RUN, begin=2)
    lose(five, RUN)
    for name in ("a", "b"):
        status = seen(five)[name]
        assert (status.state, status.attempts, status.error_code) == ("pending", 0, "run_lost")
        assert "one of 2 that it worked on" in (status.reason or "")
        assert attempts_on_record(five, name) == 1


def test_an_image_begun_by_itself_loses_an_attempt(five: Desk) -> None:
    five.claim(RUN, begin=1)
    lose(five, RUN)
    assert [seen(five)[name].attempts for name in NAMES] == [1, 0, 0, 0, 0]


def test_a_poisonous_image_fails_with_one_attempt_only(desk: Desk) -> None:
    """With DLCS_ATTEMPTS=1, too, no image of its company fails, and it fails by itself."""
    once = RetrySchedule(attempts=1, delay=timedelta(seconds=1))
    for name in ("poison", "good"):
        desk.send(f"2/1/{name}")
    lane = Lane.INGEST
    for number in range(2):
        desk.claim(f"run-{number}", lane)
        lose(desk, f"run-{number}", once)
        lane = Lane.RETRY
    assert losses(desk) == {"poison": 2, "good": 2}
    claim = desk.claim("alone", lane, begin=1)
    assert [item.asset_id.asset for item in claim.items] == ["poison", "good"]
    lose(desk, "alone", once)
    poison, good = seen(desk)["poison"], seen(desk)["good"]
    assert (poison.state, poison.error_code) == ("failed", "run_lost")
    assert "by itself" in (poison.reason or "")
    assert "dlcs retry --reason run_lost" in (poison.reason or "")
    assert (good.state, good.attempts) == ("pending", 0)


def test_runs_that_die_before_they_begin_keep_a_pause(five: Desk) -> None:
    """No image is to blame; but if every run died so, a new one would be launched without end."""
    five.claim(RUN, begin=0)
    lose(five, RUN)
    assert losses(five, now=NOW) == {}
    assert losses(five, now=NOW + SCHEDULE.delay) == dict.fromkeys(NAMES, 0)


def test_a_claim_that_is_gone_cannot_begin(five: Desk) -> None:
    claim = five.claim(RUN, begin=0)
    first, second = (item.request_id for item in claim.items[:2])
    assert five.ledger.claims.begin(claim.token, [first], now=NOW) == {first}
    end_image(five.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    assert five.ledger.claims.begin(claim.token, [first, second], now=NOW) == {second}
    lose(five, RUN)
    assert five.ledger.claims.begin(claim.token, [first, second], now=NOW) == set()


def test_a_resumed_run_leaves_an_image_that_is_to_go_alone(five: Desk) -> None:
    """Run monitoring may resume a run whose process a poisonous image killed: it would be killed again."""
    chunk = five.reserve()
    assert chunk is not None
    for losses_before in range(2):
        claim = five.ledger.claims.claim_chunk(chunk.id, RUN, now=NOW)
        assert claim is not None
        assert [item.asset_id.asset for item in claim.items] == list(NAMES)
        assert {item.attempt for item in claim.items} == {1}, losses_before
        five.ledger.claims.begin(claim.token, [item.request_id for item in claim.items[:2]], now=NOW)
        assert five.ledger.claims.end_former(RUN, schedule=SCHEDULE, now=NOW) == 5
    claim = five.ledger.claims.claim_chunk(chunk.id, RUN, now=NOW)
    assert claim is not None
    assert [item.asset_id.asset for item in claim.items] == ["c", "d", "e"]
    assert losses(five) == {"a": 2, "b": 2}


def test_a_resumed_run_of_one_image_keeps_it(desk: Desk) -> None:
    desk.send("2/1/a")
    chunk = desk.reserve()
    assert chunk is not None
    for attempt in range(1, 4):
        claim = desk.ledger.claims.claim_chunk(chunk.id, RUN, now=NOW)
        assert claim is not None
        assert [item.attempt for item in claim.items] == [attempt]
        desk.ledger.claims.begin(claim.token, [claim.items[0].request_id], now=NOW)
        desk.ledger.claims.end_former(RUN, schedule=SCHEDULE, now=NOW)
    assert seen(desk)["a"].state == "failed"


def test_a_process_that_ends_charges_as_a_lost_run_does(five: Desk) -> None:
    claim = five.claim(RUN, begin=2)
    assert five.ledger.claims.release(claim.token, RUN, schedule=SCHEDULE, now=NOW) == 5
    assert losses(five, now=NOW) == {"a": 1, "b": 1, "c": 0, "d": 0, "e": 0}
    assert {status.attempts for status in seen(five).values()} == {0}


def test_a_terminated_run_is_no_images_fault(desk: Desk) -> None:
    """The last attempt, too, is cancelled, and not failed for what it did to its run."""
    desk.send("2/1/a")
    once = RetrySchedule(attempts=1, delay=timedelta(seconds=1))
    claim = desk.claim(RUN)
    desk.ledger.claims.release(claim.token, RUN, schedule=once, now=NOW, terminated=True)
    assert (seen(desk)["a"].state, seen(desk)["a"].error_code) == ("cancelled", "cancelled")


def test_a_take_over_records_no_attempt_of_what_was_not_begun(five: Desk) -> None:
    five.claim(RUN, begin=0)
    five.ledger.ownership.take_over("other", "machine:/home", schedule=SCHEDULE, now=NOW)
    assert [attempts_on_record(five, name) for name in NAMES] == [0] * len(NAMES)
    assert losses(five, now=NOW) == dict.fromkeys(NAMES, 0)
    assert {status.attempts for status in seen(five).values()} == {0}


def test_a_lost_run_charges_only_deletions_that_it_had_begun(desk: Desk) -> None:
    deleted = [AssetDeleted(AssetId(2, 1, name), None, None, frozenset(), ()) for name in ("a", "b")]
    desk.ledger.deletions.request(deleted, now=NOW)
    chunk = desk.reserve(Lane.DELETE)
    assert chunk is not None
    claim = desk.ledger.deletions.claim(chunk.id, RUN, now=NOW)
    assert claim is not None
    desk.ledger.claims.begin(claim.token, [claim.deletions[0].request_id], now=NOW)
    lose(desk, RUN)
    assert losses(desk, Lane.DELETE, NOW) == {"a": 1, "b": 0}


def test_an_image_deleted_before_it_was_begun_is_not_retried(five: Desk) -> None:
    """Its request ends as soon as the run that held it does."""
    claim = five.claim(RUN, begin=1)
    five.ledger.deletions.request([AssetDeleted(AssetId(2, 1, "c"), None, None, frozenset(), ())], now=NOW)
    lose(five, RUN)
    assert set(losses(five, now=NOW)) == {"a", "b", "d", "e"}
    assert five.ledger.claims.held_under(claim.token) == set()


def test_an_image_that_no_run_had_begun_is_a_first_one(five: Desk) -> None:
    """Of others something may be stored that is on no record: what was lost may have been about to publish."""
    assert [item.is_first for item in five.claim(RUN, begin=2).items] == [True] * 5
    lose(five, RUN)
    firsts: dict[str, bool] = {}
    for run_id, lane, now in (("run-2", Lane.RETRY, LATER), ("run-3", Lane.INGEST, LATER)):
        if five.ledger.dispatch.due([lane], limit=10, now=now):
            firsts |= {item.asset_id.asset: item.is_first for item in five.claim(run_id, lane, now).items}
    assert firsts == {"a": False, "b": False, "c": True, "d": True, "e": True}


def test_an_image_that_is_requested_again_is_no_first_one(desk: Desk) -> None:
    desk.store("2/1/a")
    desk.send("2/1/a")
    desk.send("2/1/b")
    assert {item.asset_id.asset: item.is_first for item in desk.claim("run-2").items} == {"a": False, "b": True}
