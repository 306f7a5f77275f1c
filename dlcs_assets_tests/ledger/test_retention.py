from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Table, func, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import TransientError
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger import retention as housekeeping
from dlcs_assets.ledger import tables as schema
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.one_write import end_image

DAY = timedelta(days=1)
NOTHING = dict.fromkeys(
    ("attempts", "requests", "chunks", "messages", "rejected bodies", "notifications", "processes of runs"), 0
)
BUSY = TransientError("origin_unavailable", "503", remedy="Wait")


@dataclass
class AgedLedger:
    """A ledger with a history, whose rows can be counted."""

    desk: Desk
    url: str

    def ingest(self, image: str, *, now: datetime = NOW, batch: int | None = None) -> str:
        """Ingest an image to its end; return the id of its request."""
        self.desk.send(image, now=now, batch=batch)
        claim = self.desk.claim(now=now)
        end_image(self.desk.ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=now)
        self.desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=now)
        return claim.items[0].request_id

    def enforce(self, before: datetime, *, bodies: datetime = NOW - DAY, dry_run: bool = False) -> dict[str, int]:
        """Return how many rows were deleted, without the kinds with none."""
        done = self.desk.ledger.retention.enforce(history=before, bodies=bodies, dry_run=dry_run)
        assert done.keys() == NOTHING.keys()
        return {name: count for name, count in done.items() if count}

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        engine = make_engine(self.url)
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def count(self, table: Table) -> int:
        with self.writing() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0

    def requests(self) -> set[str]:
        with self.writing() as connection:
            return set(connection.scalars(select(schema.requests.c.id)))


@pytest.fixture
def aged(desk: Desk, url: str) -> AgedLedger:
    return AgedLedger(desk, url)


def test_only_the_newest_request_of_an_image_is_kept(aged: AgedLedger) -> None:
    for days in (0, 1, 2):
        newest = aged.ingest("2/1/a", now=NOW + days * DAY)
    assert aged.enforce(NOW + 3 * DAY) == {"attempts": 3, "requests": 2, "chunks": 3, "messages": 3}
    assert aged.requests() == {newest}
    assert aged.count(schema.attempts) == 0
    assert aged.count(schema.chunk_images) == 0
    assert aged.desk.state("2/1/a") == "done"
    assert aged.enforce(NOW + 3 * DAY) == {}


def test_younger_rows_are_kept(aged: AgedLedger) -> None:
    for days in (0, 2):
        aged.ingest("2/1/a", now=NOW + days * DAY)
    assert aged.enforce(NOW) == {}
    assert aged.enforce(NOW + DAY) == {"attempts": 1, "requests": 1, "chunks": 1, "messages": 1}


def test_a_dry_run_counts_and_changes_nothing(aged: AgedLedger) -> None:
    for days in (0, 1):
        aged.ingest("2/1/a", now=NOW + days * DAY)
    before = {table: aged.count(table) for table in schema.metadata.sorted_tables}
    expected = {"attempts": 2, "requests": 1, "chunks": 2, "messages": 2}
    assert aged.enforce(NOW + 3 * DAY, dry_run=True) == expected
    assert {table: aged.count(table) for table in schema.metadata.sorted_tables} == before


def test_history_is_deleted_in_slices(aged: AgedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice that does not continue where the last one ended would never end, or leave rows."""
    monkeypatch.setattr(housekeeping, "SLICE", 2)
    monkeypatch.setattr(housekeeping, "CHUNKS_SLICE", 2)
    for days in range(6):
        aged.ingest("2/1/a", now=NOW + days * DAY)
    assert aged.enforce(NOW + 9 * DAY) == {"attempts": 6, "requests": 5, "chunks": 6, "messages": 6}
    assert aged.count(schema.requests) == 1


def test_a_request_awaiting_its_next_attempt_keeps_its_attempts(aged: AgedLedger) -> None:
    """Deleting them would give the image its attempts again."""
    aged.desk.send("2/1/a")
    claim = aged.desk.claim()
    end_image(aged.desk.ledger.results, claim, claim.items[0], BUSY, schedule=SCHEDULE, now=NOW)
    aged.desk.ledger.claims.release_run("run-1", schedule=SCHEDULE, now=NOW)
    assert aged.enforce(NOW + 9 * DAY) == {"chunks": 1, "messages": 1}
    again = aged.desk.claim("run-2", Lane.RETRY, now=NOW + 9 * DAY)
    end_image(aged.desk.ledger.results, again, again.items[0], None, schedule=SCHEDULE, now=NOW + 9 * DAY)
    made = aged.desk.ledger.reports.attempts(again.items[0].request_id)
    assert [attempt.number for attempt in made] == [1, 2]


def test_open_chunks_and_claims_are_kept_whatever_their_age(aged: AgedLedger) -> None:
    aged.desk.send("2/1/a")
    aged.desk.claim()
    assert aged.enforce(NOW + 9 * DAY) == {"messages": 1}
    assert aged.count(schema.claims) == aged.count(schema.chunk_images) == 1


def test_requests_of_an_unfinished_batch_are_kept(aged: AgedLedger) -> None:
    """So are those that superseded them: without them the numbers of the batch would change."""
    aged.desk.send("2/1/a", batch=7)
    aged.ingest("2/1/a")  # takes the place of the batch's
    aged.ingest("2/1/a", now=NOW + DAY)
    before = aged.desk.ledger.reports.counts(Selection(batch=7))
    assert before["done"] == 1
    assert "requests" not in aged.enforce(NOW + 9 * DAY)
    assert aged.desk.ledger.reports.counts(Selection(batch=7)) == before
    with aged.writing() as connection:
        connection.execute(update(schema.batches).values(finished_at=NOW))
    assert aged.enforce(NOW + 9 * DAY) == {"requests": 2}


def test_a_rejected_message_loses_only_its_body(aged: AgedLedger) -> None:
    """Its reason stays readable, and its id, by which a second delivery is recognised."""
    rejected = InboxMessage("bad", "q", Lane.INGEST, "{", rejection=Rejection("not_json", "no JSON", "Send JSON"))
    aged.desk.take_in([rejected])
    assert aged.enforce(NOW + 9 * DAY, bodies=NOW) == {}
    assert aged.enforce(NOW + 9 * DAY, bodies=NOW + DAY) == {"rejected bodies": 1}
    (row,) = aged.desk.ledger.inbox.rejected()
    assert (row["id"], row["body"], row["code"], row["cause"]) == ("bad", None, "not_json", "no JSON")
    assert aged.desk.take_in([rejected]).duplicates == 1


def test_a_message_waiting_for_its_registration_is_kept(aged: AgedLedger) -> None:
    aged.desk.send("2/1/a", origin=None)
    assert aged.enforce(NOW + 9 * DAY) == {}
    aged.desk.send("2/1/a")
    assert aged.desk.state("2/1/a") == "pending"


def test_only_published_notifications_are_deleted(aged: AgedLedger) -> None:
    """One that could not be sent yet must not be lost by its age."""
    row = {"topic": "t", "body": "{}", "attributes": {}, "created_at": NOW, "attempts": 0, "due_at": NOW}
    with aged.writing() as connection:
        connection.execute(insert(schema.notifications).values(id="sent", published_at=NOW, **row))
        connection.execute(insert(schema.notifications).values(id="unsent", published_at=None, **row))
    assert aged.enforce(NOW + DAY) == {"notifications": 1}
    with aged.writing() as connection:
        assert connection.scalars(select(schema.notifications.c.id)).all() == ["unsent"]


def test_an_image_is_quiet_since_its_last_request_ended(aged: AgedLedger) -> None:
    for days in (0, 3):
        aged.ingest("2/1/a", now=NOW + days * DAY)
    assert aged.desk.ledger.reports.idle_since(["2/1/a", "2/1/unknown"]) == {"2/1/a": NOW + 3 * DAY}


def test_a_requested_awaited_or_held_image_is_not_quiet(aged: AgedLedger) -> None:
    """Its partition must not be deleted while a request, a waiting message or a run needs it."""
    aged.ingest("2/1/asked")
    aged.desk.send("2/1/asked", now=NOW + DAY)
    aged.desk.send("2/1/waited-for", origin=None)
    aged.ingest("2/1/held")
    aged.desk.ledger.claims.claim_images([AssetId(2, 1, "held")], STAGES, "run-ui", now=NOW)
    ids = ["2/1/asked", "2/1/waited-for", "2/1/held"]
    assert aged.desk.ledger.reports.idle_since(ids) == dict.fromkeys(ids)


def test_the_requests_in_progress_are_listed(aged: AgedLedger, ledger: Ledger) -> None:
    aged.ingest("2/1/done")
    aged.desk.send("2/1/a")
    claim = aged.desk.claim("run-2")
    assert ledger.claims.claimed_requests() == {claim.items[0].request_id}


def test_work_has_ended_when_its_claim_has(aged: AgedLedger, ledger: Ledger) -> None:
    """The scratch folder of a request that the ledger does not know must not be deleted on a guess."""
    aged.desk.send("2/1/a")
    claim = aged.desk.claim("run-2")
    request, end = claim.items[0].request_id, claim.token[-8:]
    other = "0" * 8
    assert ledger.claims.ended([(request, end), (request, other), ("f" * 32, other)]) == {(request, other)}
    end_image(ledger.results, claim, claim.items[0], None, schedule=SCHEDULE, now=NOW)
    assert ledger.claims.ended([(request, end)]) == {(request, end)}


def test_processes_of_runs_are_forgotten_with_the_history(aged: AgedLedger) -> None:
    aged.desk.ledger.workers.enter("run-1", ttl=DAY, now=NOW)
    aged.desk.ledger.workers.enter("run-2", ttl=DAY, now=NOW + 2 * DAY)
    assert aged.enforce(NOW + DAY) == {"processes of runs": 1}
    assert aged.count(schema.workers) == 1
