from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.backfill import Backfill
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger import Ledger, backfills
from dlcs_assets.ledger.backfills import BackfillCancelledError, FailureReason
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.ledger.tables import backfill_counts, requests
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk, result
from dlcs_testing.listening import statements
from dlcs_testing.one_write import commit_stage, end_image

LATER = NOW + timedelta(minutes=1)
TORN = PermanentError("torn", "It is torn", remedy="Send a whole one", stage=Stage.JP2)
BUSY = TransientError("busy", "It is busy", remedy="Wait", stage=Stage.JP2)
JP2 = frozenset({Stage.JP2})


def ingest(desk: Desk, *images: str) -> None:
    """Have images that are done."""
    for image in images:
        desk.send(image)
    end(desk, lane=Lane.INGEST)


def end(desk: Desk, error: IngestError | None = None, *, lane: Lane = Lane.BACKFILL, now: datetime = NOW) -> None:
    """Have a run end all that is due in a lane."""
    claim = desk.claim(f"run-{lane}-{now:%H%M}", lane, now)
    for item in claim.items:
        if error is None:
            for stage in STAGES:
                commit_stage(desk.ledger.results, claim, item, result(stage), now=now)
        end_image(desk.ledger.results, claim, item, error, schedule=SCHEDULE, now=now)
    desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=now)


def begin(desk: Desk, *images: str, stages: frozenset[Stage] = JP2, now: datetime = NOW) -> int:
    number = desk.ledger.backfills.begin({"customer": 2, "stage": "jp2"}, asked_by="a test", now=now)
    desk.ledger.backfills.request(number, wanted(*images, stages=stages), now=now)
    desk.ledger.backfills.all_requested(number, now=now)
    return number


def wanted(*images: str, stages: frozenset[Stage] = JP2) -> Sequence[tuple[AssetId, frozenset[Stage]]]:
    return [(AssetId.parse(image), stages) for image in images]


def find(desk: Desk, number: int) -> Backfill:
    found = desk.ledger.backfills.find(number)
    assert found is not None
    return found


def due(desk: Desk, lane: Lane = Lane.BACKFILL, now: datetime = LATER) -> dict[str, set[Stage]]:
    return {str(each.asset_id): set(each.stages) for each in desk.ledger.dispatch.due([lane], limit=100, now=now)}


def test_a_backfill_has_a_number_and_a_balance(desk: Desk) -> None:
    ingest(desk, "2/1/a", "2/1/b", "2/1/c")
    assert (begin(desk, "2/1/a", "2/1/b", "2/1/gone"), begin(desk, "2/1/c")) == (1, 2)
    assert find(desk, 1).selection == "--customer 2 --stage jp2"
    assert str(find(desk, 1)) == "2 images = 0 done + 0 failed + 2 pending"
    claim = desk.claim("run-1", Lane.BACKFILL)
    assert find(desk, 1).running == 2
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=LATER)
    end_image(desk.ledger.results, claim, claim.items[1], TORN, schedule=SCHEDULE, now=LATER)
    assert str(find(desk, 1)) == "2 images = 1 done + 1 failed + 0 pending"
    assert desk.ledger.backfills.ended_since(1, NOW) == 2
    assert desk.ledger.backfills.ended_since(1, LATER) == 0
    torn = FailureReason("torn", 1, "2/1/b", "It is torn", "Send a whole one")
    assert desk.ledger.backfills.reasons(1) == [torn]
    assert [each.id for each in desk.ledger.backfills.newest()] == [2, 1]


def test_a_backfill_ends_when_its_last_image_does(desk: Desk) -> None:
    ingest(desk, "2/1/a")
    number = begin(desk, "2/1/a")
    assert desk.ledger.backfills.settle(now=NOW) == []
    end(desk)
    (ended,) = desk.ledger.backfills.settle(now=LATER)
    assert (ended.id, ended.done, ended.standing) == (number, 1, "finished")
    assert find(desk, number).ended_at == LATER
    assert desk.ledger.backfills.settle(now=LATER) == []
    assert desk.ledger.backfills.newest(unended=True) == []
    with desk.ledger._database.read() as connection:
        (row,) = connection.execute(select(backfill_counts)).all()
    assert (row.session, row.images) == (0, 1)


def test_cancelling_withdraws_what_waits_and_nothing_else(desk: Desk) -> None:
    """What is done stays done; what a run holds comes to its end, and is withdrawn should it have to wait again."""
    ingest(desk, "2/1/a", "2/1/b", "2/1/c", "2/1/other")
    desk.ledger.registrations.request(wanted("2/1/other"), lane=Lane.BACKFILL, now=LATER)  # of no backfill
    number = begin(desk, "2/1/a", "2/1/b")
    claim = desk.claim("run-1", Lane.BACKFILL)
    desk.ledger.backfills.request(number, wanted("2/1/c"), now=NOW)
    assert desk.ledger.backfills.cancel(number, now=NOW) == 1
    assert str(find(desk, number)) == ("3 images = 0 done + 0 failed + 1 cancelled + 2 pending (2 of them running)")
    assert desk.ledger.backfills.settle(now=NOW) == []
    end_image(desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    end_image(desk.ledger.results, claim, claim.items[1], BUSY, schedule=SCHEDULE, now=NOW)
    desk.ledger.claims.release_run("run-1", schedule=SCHEDULE, now=NOW)
    assert desk.ledger.backfills.settle(now=LATER) == []  # this one withdraws, the next one sees what there is
    (ended,) = desk.ledger.backfills.settle(now=LATER)
    assert (ended.done, ended.cancelled, ended.standing) == (1, 2, "cancelled")
    assert {desk.state(image) for image in ("2/1/a", "2/1/b", "2/1/c")} == {"done"}
    assert due(desk, now=NOW + timedelta(hours=2)) == {"2/1/other": {Stage.JP2}}
    assert desk.ledger.backfills.cancel(number, now=LATER) is None
    cancelled = desk.ledger.reports.last_cancelled("2/1/c")
    assert cancelled is not None
    assert cancelled.remedy == f"To continue it: dlcs backfills resume {number}"


def test_what_dagster_may_show_as_failed_is_reported_again(desk: Desk) -> None:
    """Of an image whose run came to nothing; nothing of those that were in none, of which there may be a million."""
    ingest(desk, "2/1/a", "2/1/b")
    new = desk.ledger.results.unreported(limit=10)
    desk.ledger.results.mark_reported([(asset_id, made.stage, request) for asset_id, request, _, made in new])
    number = begin(desk, "2/1/a")
    end(desk, BUSY)
    desk.ledger.backfills.request(number, wanted("2/1/b"), now=LATER)
    desk.ledger.backfills.cancel(number, now=LATER)
    assert {str(asset_id) for asset_id, *_ in desk.ledger.results.unreported(limit=10)} == {"2/1/a"}


def test_a_backfill_is_resumed_with_the_same_stages(desk: Desk) -> None:
    ingest(desk, "2/1/a", "2/1/b", "2/1/c", "2/1/gone")
    number = begin(desk, "2/1/a")
    end(desk, TORN)
    desk.ledger.backfills.request(number, wanted("2/1/b", "2/1/c", "2/1/gone"), now=NOW)
    desk.ledger.backfills.cancel(number, now=NOW)
    desk.ledger.deletions.request([AssetDeleted(AssetId(2, 1, "gone"), None, None, frozenset(), ())], now=NOW)
    assert [each.id for each in desk.ledger.backfills.settle(now=NOW)] == [number]
    assert desk.ledger.backfills.resume(number, now=NOW) == 3
    assert due(desk) == {image: {Stage.JP2} for image in ("2/1/a", "2/1/b", "2/1/c")}
    assert str(find(desk, number)) == "4 images = 0 done + 0 failed + 1 cancelled + 3 pending"
    assert desk.ledger.backfills.resume(number, now=NOW) == 0
    end(desk, now=LATER)
    (ended,) = desk.ledger.backfills.settle(now=LATER)
    assert str(ended) == "4 images = 3 done + 0 failed + 1 cancelled + 0 pending"


def test_what_was_asked_for_since_is_not_resumed(desk: Desk) -> None:
    ingest(desk, "2/1/a", "2/1/b")
    number = begin(desk, "2/1/a", "2/1/b")
    desk.ledger.backfills.cancel(number, now=NOW)
    desk.send("2/1/a")
    assert desk.ledger.backfills.resume(number, now=NOW) == 1
    assert set(due(desk)) == {"2/1/b"}


def test_a_page_of_many_is_resumed_after_another(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a page were withdrawn at one moment, and some of each are not asked for again."""
    monkeypatch.setattr(backfills, "PAGE", 2)
    images = [f"2/1/{number}" for number in range(7)]
    ingest(desk, *images)
    number = begin(desk, *images)
    assert desk.ledger.backfills.cancel(number, now=NOW) == 7
    desk.send("2/1/1")
    desk.send("2/1/4")
    assert desk.ledger.backfills.resume(number, now=NOW) == 5
    assert set(due(desk)) == {f"2/1/{number}" for number in (0, 2, 3, 5, 6)}


def test_a_cancelled_backfill_asks_for_nothing_more(desk: Desk) -> None:
    """Whatever process is writing its requests, and however far it is."""
    ingest(desk, "2/1/a", "2/1/b")
    number = desk.ledger.backfills.begin({"customer": 2}, asked_by="a test", now=NOW)
    assert desk.ledger.backfills.request(number, wanted("2/1/a"), now=NOW) == 1
    assert find(desk, number).standing.startswith("being requested")
    desk.ledger.backfills.cancel(number, now=NOW)
    with pytest.raises(BackfillCancelledError, match="Backfill 1 was cancelled"):
        desk.ledger.backfills.request(number, wanted("2/1/b"), now=NOW)
    assert due(desk) == {}


def test_a_backfill_that_was_interrupted_has_each_image_once(desk: Desk) -> None:
    ingest(desk, "2/1/a", "2/1/b")
    number = desk.ledger.backfills.begin({"customer": 2}, asked_by="a test", now=NOW)
    assert desk.ledger.backfills.request(number, wanted("2/1/a"), now=NOW) == 1
    end(desk)
    assert desk.ledger.backfills.settle(now=NOW) == []  # more is to come
    assert desk.ledger.backfills.request(number, wanted("2/1/a", "2/1/b"), now=NOW) == 1
    assert find(desk, number).images == 2


def test_a_message_takes_an_image_through_its_backfill(desk: Desk) -> None:
    """It is more urgent, and includes what the backfill asks for: cancelling that does not withdraw it."""
    ingest(desk, "2/1/a")
    number = begin(desk, "2/1/a")
    desk.send("2/1/a")
    assert str(find(desk, number)) == "1 image = 0 done + 0 failed + 1 pending"
    assert desk.ledger.backfills.cancel(number, now=NOW) == 0
    assert set(due(desk, Lane.INGEST)) == {"2/1/a"}
    end(desk, lane=Lane.INGEST)
    (ended,) = desk.ledger.backfills.settle(now=NOW)
    assert str(ended) == "1 image = 1 done + 0 failed + 0 pending"


def test_a_later_backfill_takes_over_what_waits(desk: Desk) -> None:
    """With the stages of both. The earlier one has nothing left to do, nor anything to cancel."""
    ingest(desk, "2/1/a")
    earlier = begin(desk, "2/1/a")
    later = begin(desk, "2/1/a", stages=frozenset({Stage.THUMBNAILS}))
    assert str(find(desk, earlier)) == "1 image = 0 done + 0 failed + 1 taken over by later ones + 0 pending"
    assert desk.ledger.backfills.cancel(earlier, now=NOW) == 0
    assert due(desk) == {"2/1/a": {Stage.JP2, Stage.THUMBNAILS}}
    assert find(desk, later).pending == 1


def test_a_retry_leaves_the_backfill_as_it_ended(desk: Desk) -> None:
    ingest(desk, "2/1/a")
    number = begin(desk, "2/1/a")
    end(desk, TORN)
    desk.ledger.reports.retry(Selection(ids=("2/1/a",)), now=NOW)
    assert (find(desk, number).failed, find(desk, number).unended) == (1, 0)


def test_numbers_outlive_the_requests_they_are_of(desk: Desk) -> None:
    ingest(desk, "2/1/a")
    number = begin(desk, "2/1/a")
    end(desk, now=LATER)
    desk.send("2/1/a", now=LATER)
    desk.ledger.retention.enforce(history=LATER + timedelta(days=1), bodies=LATER)
    desk.claim(lane=Lane.INGEST, now=LATER)
    with desk.ledger._database.read() as connection:
        assert connection.execute(select(requests).where(requests.c.backfill == number)).all() in ([], ())
    assert find(desk, number).done == 1


def test_what_is_asked_of_a_backfill_reads_no_done_images(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        desk = Desk(ledger)
        ingest(desk, "2/1/a")
        number = begin(desk, "2/1/a")
        with statements() as asked:
            ledger.backfills.newest()
            ledger.backfills.ended_since(number, NOW)
            ledger.backfills.settle(now=NOW)
        with ledger._database.read() as connection:
            plans = [
                row[3]
                for statement, parameters in asked
                if statement.startswith("SELECT")
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
    of_requests = {plan.partition(" INDEX ")[2] for plan in plans if "requests" in plan and "INDEX" in plan}
    assert of_requests == {
        "requests_by_backfill (backfill=? AND state=?)",
        "requests_by_backfill (backfill=? AND state=? AND finished_at>?)",
    }
