"""What waits to be written goes in batches: who waits for what, and what a refused row costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event, select

from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import ObjectKind, WorkItem
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.tables import claims
from dlcs_assets.ledger.writer import LedgerWriter, Result
from dlcs_assets.ledger.writes import AttemptEnd, ImageBegun, QuotaReservation, StageCommit
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, SELECT_ALL, Desk, numbered_message, result
from dlcs_testing import postgresql
from dlcs_testing.one_write import end_image

IMAGES = 40
PATIENCE_SECONDS = 60
LONG = 3600.0  # of a writer that writes when it is asked to


def as_failure(error: Exception) -> IngestError:
    return PermanentError("internal_error", type(error).__name__, remedy="None")


def claimed(desk: Desk, images: int = IMAGES) -> Claim:
    desk.take_in([numbered_message(number) for number in range(images)])
    return desk.claim()


@contextmanager
def writer_of(ledger: Ledger, claim: Claim, linger_seconds: float = LONG) -> Iterator[LedgerWriter]:
    writer = LedgerWriter(ledger.results, claim, as_failure, linger_seconds=linger_seconds)
    yield writer
    writer.close(PATIENCE_SECONDS)


class Heard:
    """What came of writes, by image, in the order in which it was heard."""

    def __init__(self) -> None:
        self.results: dict[str, list[Result]] = {}

    def of(self, item: WorkItem) -> Callable[[Result], None]:
        return self.results.setdefault(str(item.asset_id), []).append


def add_all(writer: LedgerWriter, item: WorkItem, heard: Heard, size: int = 10) -> None:
    """Add what an image leaves behind: three stages, and the end."""
    for stage in STAGES:
        made = result(stage, key=f"{item.asset_id}/{stage}", size=size)
        writer.add(item, StageCommit(item, made, NOW), heard.of(item))
    writer.add(item, AttemptEnd(item, None, SCHEDULE, NOW), heard.of(item))


def count_statements(ledger: Ledger) -> list[str]:
    asked: list[str] = []

    @event.listens_for(ledger._database._engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    return asked


def is_begin(statement: str) -> bool:
    return statement.startswith("BEGIN IMMEDIATE") or "pg_advisory" in statement


def test_what_waits_is_one_transaction_of_few_statements(desk: Desk) -> None:
    claim, heard = claimed(desk), Heard()
    with writer_of(desk.ledger, claim) as writer:
        asked = count_statements(desk.ledger)
        for item in claim.items:
            add_all(writer, item, heard)
        assert writer.flush(PATIENCE_SECONDS)
        assert sum(is_begin(each) for each in asked) == 1
        assert len(asked) <= 12
    found = desk.ledger.reports.images(SELECT_ALL)
    assert [(status.state, status.attempts, len(status.objects)) for status in found] == [("done", 1, 3)] * IMAGES
    assert list(heard.results.values()) == [[None, None, None, RequestState.DONE]] * IMAGES


def test_a_single_write_is_not_held_back_for_long(desk: Desk) -> None:
    """Without a second one, nor anyone who asks for it."""
    claim, heard, done = claimed(desk, 1), Heard(), threading.Event()
    (item,) = claim.items
    with writer_of(desk.ledger, claim, 0.05) as writer:
        writer.add(item, AttemptEnd(item, None, SCHEDULE, NOW), lambda _: done.set())
        assert done.wait(PATIENCE_SECONDS)
    assert heard.results == {}
    assert desk.state("2/1/image-000") == "done"


def test_an_image_is_heard_to_be_done_after_the_commit(desk: Desk, url: str) -> None:
    """What is done for others to see, Dagster for one, must not be ahead of the ledger."""
    claim, seen = claimed(desk, 3), list[str]()
    with closing(Ledger(url)) as other, writer_of(desk.ledger, claim) as writer:
        for item in claim.items:
            end = AttemptEnd(item, None, SCHEDULE, NOW)
            writer.add(item, end, lambda _: seen.append(" ".join(sorted(Desk(other).state(i) for i in images))))
        images = [str(item.asset_id) for item in claim.items]
        assert desk.ledger.reports.counts().get("done", 0) == 0
        assert writer.flush(PATIENCE_SECONDS)
    assert seen == ["done done done"] * 3


def test_one_bad_row_costs_its_own_image_only(desk: Desk) -> None:
    """Its object has fewer than no bytes: no database takes that. The batch is written without it."""
    claim, heard = claimed(desk), Heard()
    bad = claim.items[7]
    with writer_of(desk.ledger, claim) as writer:
        for item in claim.items:
            add_all(writer, item, heard, size=-1 if item is bad else 10)
        assert writer.flush(PATIENCE_SECONDS)
    states = {status.asset_id: (status.state, status.error_code) for status in desk.ledger.reports.images(SELECT_ALL)}
    assert states.pop(str(bad.asset_id)) == ("failed", "internal_error")
    assert set(states.values()) == {("done", None)}
    *commits, end = heard.results[str(bad.asset_id)]
    assert all(isinstance(each, Exception) for each in commits)
    assert end is RequestState.FAILED


def test_a_lost_image_is_refused_and_the_others_are_written(desk: Desk) -> None:
    claim, heard = claimed(desk, 3), Heard()
    end_image(desk.ledger.results, claim, claim.items[1], None, schedule=SCHEDULE, now=NOW)
    with writer_of(desk.ledger, claim) as writer:
        asked = count_statements(desk.ledger)
        for item in claim.items:
            add_all(writer, item, heard)
        assert writer.flush(PATIENCE_SECONDS)
        assert sum(is_begin(each) for each in asked) == 1
    assert [isinstance(each, ClaimLostError) for each in heard.results["2/1/image-001"]] == [True] * 4
    assert [heard.results[f"2/1/image-00{n}"][-1] for n in (0, 2)] == [RequestState.DONE] * 2
    assert {status.asset_id: len(status.objects) for status in desk.ledger.reports.images(SELECT_ALL)} == {
        "2/1/image-000": 3,
        "2/1/image-001": 0,
        "2/1/image-002": 3,
    }


def test_a_process_that_lost_its_run_writes_nothing(desk: Desk) -> None:
    claim, heard = claimed(desk, 3), Heard()
    desk.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=NOW)
    with writer_of(desk.ledger, claim) as writer:
        for item in claim.items:
            add_all(writer, item, heard)
        assert writer.flush(PATIENCE_SECONDS)
    assert all(isinstance(each, ClaimLostError) for results in heard.results.values() for each in results)
    assert [len(status.objects) for status in desk.ledger.reports.images(SELECT_ALL)] == [0] * 3


def test_an_end_that_is_refused_does_not_stop_the_writer(desk: Desk) -> None:
    """It names no request: a mistake in what is added. What is added after it is written."""
    claim, heard = claimed(desk, 2), Heard()
    first, second = claim.items
    with writer_of(desk.ledger, claim) as writer:
        broken = AttemptEnd(replace(first, request_id="none"), as_failure(ValueError()), SCHEDULE, NOW)
        writer.add(first, broken, heard.of(first))
        add_all(writer, second, heard)
        assert writer.flush(PATIENCE_SECONDS)
        add_all(writer, first, heard)
        assert writer.flush(PATIENCE_SECONDS)
    refused, *rest = heard.results[str(first.asset_id)]
    assert isinstance(refused, Exception)
    assert rest == [None, None, None, RequestState.DONE]


def test_a_reservation_is_written_at_once_with_what_waits(desk: Desk) -> None:
    """The image goes no further without it."""
    claim, heard = claimed(desk, 2), Heard()
    first, second = claim.items
    with writer_of(desk.ledger, claim) as writer:
        writer.add(first, StageCommit(first, result(Stage.ORIGINAL), NOW), heard.of(first))
        writer.apply(QuotaReservation(second, 100, 90, [ObjectKind.JP2]))
        assert heard.results == {str(first.asset_id): [None]}
        with pytest.raises(PermanentError, match="quota"):
            writer.apply(QuotaReservation(first, 100, 20, [ObjectKind.JP2]))
    assert desk.ledger.accounting.totals(2).reserved == 90


def test_what_has_ended_is_on_record_before_others_begin(desk: Desk) -> None:
    """If the run dies now, what it had ended is not among what it may have died of."""
    claim, heard = claimed(desk, 3), Heard()
    first, second, lost = claim.items
    end_image(desk.ledger.results, claim, lost, None, schedule=SCHEDULE, now=NOW)
    with writer_of(desk.ledger, claim) as writer:
        writer.add(first, AttemptEnd(first, None, SCHEDULE, NOW), heard.of(first))
        begun, refused = writer.apply_all([ImageBegun(second, NOW), ImageBegun(lost, NOW)])
        assert heard.results == {str(first.asset_id): [RequestState.DONE]}
    assert begun is None
    assert isinstance(refused, ClaimLostError)
    with desk.ledger._database.read() as connection:
        found = connection.execute(select(claims.c.image_id, claims.c.begun_at)).all()
    assert [tuple(row) for row in found] == [(str(second.asset_id), NOW)]


@pytest.fixture
def served(postgresql_server: postgresql.Server) -> Iterator[Ledger]:
    with closing(Ledger(postgresql_server.new_ledger())) as ledger:
        yield ledger


def test_runs_write_at_the_same_time_on_postgresql(served: Ledger) -> None:
    """Each of two is in its transaction until the other one is in its own."""
    url = served._database._engine.url.render_as_string(hide_password=False)
    both = threading.Barrier(2)

    def write() -> None:
        with closing(Ledger(url)) as ledger, ledger._database.write_held():
            both.wait(PATIENCE_SECONDS)

    other = threading.Thread(target=write)
    other.start()
    write()
    other.join()
    assert not both.broken


def test_no_claim_is_taken_from_a_run_while_it_writes(served: Ledger) -> None:
    """On PostgreSQL: the one that would take it waits for the end of the transaction, and takes what is left."""
    desk = Desk(served)
    claim = claimed(desk, 2)
    url = served._database._engine.url.render_as_string(hide_password=False)
    released: list[int] = []

    def release() -> None:
        with closing(Ledger(url)) as ledger:
            released.append(ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=NOW))

    other = threading.Thread(target=release)
    with served._database.write_held() as connection:
        other.start()
        await_waiting(url)
        assert "2/1/image-000" in served.claims.held_under(claim.token)
        connection.exec_driver_sql("SELECT 1")
    other.join()
    assert released == [2]


def await_waiting(url: str) -> None:
    """Wait until a connection to the database waits for a lock."""
    engine = make_engine(url)
    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        while connection.exec_driver_sql(query).scalar() == 0:
            connection.rollback()
    engine.dispose()
