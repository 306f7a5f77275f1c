from __future__ import annotations

from datetime import datetime, timedelta

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import TransientError
from dlcs_assets.domain.ingest_request import IngestMessage
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.health import SameReason, Stalled
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import end_image

HOUR = timedelta(hours=1)
BUSY = TransientError("origin_unavailable", "503", remedy="Wait")


def stalled(desk: Desk) -> list[tuple[str, str, int]]:
    return [(each.why, each.example, each.count) for each in desk.ledger.health.stalled(NOW - HOUR)]


def test_a_request_unfinished_after_an_hour_is_stalled(desk: Desk) -> None:
    """It is reported by customer, lane and reason, with the age of the oldest and an example."""
    desk.send("2/1/old", now=NOW - 3 * HOUR)
    desk.send("2/1/older", now=NOW - 4 * HOUR)
    desk.send("2/1/new", now=NOW)
    (found,) = desk.ledger.health.stalled(NOW - HOUR)
    assert found == Stalled(2, Lane.INGEST, "wait for a run", 2, NOW - 4 * HOUR, "2/1/old")
    assert found.describe(NOW) == "2 of customer 2 wait for a run, for up to 4.0 h, such as 2/1/old"


def test_stalled_requests_have_a_reason_and_the_oldest_is_first(desk: Desk) -> None:
    desk.send("2/1/again", now=NOW - 3 * HOUR)
    claim = desk.claim(now=NOW - 3 * HOUR)
    end_image(desk.ledger.results, claim, claim.items[0], BUSY, schedule=SCHEDULE, now=NOW - 3 * HOUR)
    desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=NOW - 3 * HOUR)
    desk.send("2/1/in-progress", now=NOW - 5 * HOUR)
    desk.claim("run-2", now=NOW - 5 * HOUR)
    desk.send("2/1/given", now=NOW - 2 * HOUR)
    desk.reserve()
    desk.send("2/1/nameless", None, now=NOW - 4 * HOUR)
    assert stalled(desk) == [
        ("are in progress", "2/1/in-progress", 1),
        ("wait for their registration", "2/1/nameless", 1),
        ("are tried again after origin_unavailable", "2/1/again", 1),
        ("were given to a run that has not begun", "2/1/given", 1),
    ]


def test_what_has_ended_is_not_stalled(desk: Desk) -> None:
    desk.store("2/1/one")
    assert desk.ledger.health.stalled(NOW + 9 * HOUR) == []


def test_rejected_messages_of_late_are_counted_by_code(desk: Desk) -> None:
    """The example is the image that a message names, where it names one."""

    def reject(message_id: str, code: str, image: str | None, received: datetime) -> None:
        message = IngestMessage(AssetId.parse(image)) if image else None
        rejection = Rejection(code, f"{code} it is", "Correct it")
        desk.take_in([InboxMessage(message_id, "q", Lane.INGEST, "body", message, rejection)], now=received)

    reject("m1", "unknown_policy", "2/1/a", NOW - HOUR)
    reject("m2", "unknown_policy", "2/1/b", NOW - HOUR)
    reject("m3", "not_json", None, NOW)
    reject("m4", "not_json", None, NOW - 3 * HOUR)
    reject("m5", "not_json", None, NOW)
    desk.ledger.inbox.mark_requeued(["m5"])
    assert desk.ledger.health.rejected(since=NOW - 2 * HOUR) == [
        SameReason("unknown_policy", 2, "2/1/a", "unknown_policy it is"),
        SameReason("not_json", 1, "m3", "not_json it is"),
    ]
    assert desk.ledger.health.rejected(since=NOW + HOUR) == []


def test_a_backfill_may_take_its_time_until_an_attempt_fails(desk: Desk) -> None:
    desk.send("2/1/one", lane=Lane.BACKFILL, now=NOW - 3 * HOUR)
    assert stalled(desk) == []
    claim = desk.claim(lane=Lane.BACKFILL, now=NOW - 3 * HOUR)
    end_image(desk.ledger.results, claim, claim.items[0], BUSY, schedule=SCHEDULE, now=NOW - 3 * HOUR)
    desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=NOW - 3 * HOUR)
    assert stalled(desk) == [("are tried again after origin_unavailable", "2/1/one", 1)]
