"""Histories of a few images, drawn by hypothesis: every change of a request is one that the table of states allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Row, delete, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.ingest_request import AssetFields, BatchReference, IngestMessage
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.request_states import (
    ENDED,
    SUCCESSFUL,
    TAKEN,
    TRANSITIONS,
    UNFINISHED,
    WITHOUT_EFFECT,
    RequestState,
)
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.deletions import DeletionClaim
from dlcs_assets.ledger.image_counts import add_up, counted_from_requests, kept_counts
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets.ledger.records import Chunk, InboxMessage, new_id
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.ledger.tables import (
    attempts,
    batches,
    chunks,
    claims,
    image_counts,
    images,
    metadata,
    requests,
    tombstones,
)
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, refuse_ftp, result
from dlcs_testing import postgresql
from dlcs_testing.one_write import commit_stage, end_image

IMAGES = st.sampled_from([AssetId(2, 1, name) for name in "ab"])
STAGES_DRAWN = st.sets(st.sampled_from(Stage), min_size=1)
WAIT = timedelta(minutes=10)
ERRORS = st.sampled_from(
    [
        None,
        PermanentError("permanent", "It is odd", remedy="None", stage=Stage.ORIGINAL),
        TransientError("transient", "It is busy", remedy="Wait", stage=Stage.THUMBNAILS),
        ServiceDownError("down", "It is down", remedy="Start it", stage=Stage.JP2),
    ]
)
ALLOWED = {(before, each.after) for each in TRANSITIONS.values() for before in each.before}
BEGINNINGS = {each.after for each in TRANSITIONS.values() if not each.before}
# Two events in one transaction: the first cannot be seen from outside.
AT_ONCE = {
    (RequestState.RUNNING, RequestState.SUPERSEDED),  # a deletion that failed, of an image that is registered again
    (RequestState.RUNNING, RequestState.CANCELLED),  # of a run that a person terminated
    (RequestState.RESERVED, RequestState.CANCELLED),  # of one that never began
}
BEGINNINGS_AT_ONCE = {RequestState.RUNNING, RequestState.SUPERSEDED}  # by hand; by another message of the transaction


class Histories(RuleBasedStateMachine):
    """Takes messages in, dispatches, claims, ends and kills runs, as sensors, runs and operators do."""

    ledger: ClassVar[Ledger]

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.before: dict[str, Row[Any]] = {}
        self.has_forgotten = False  # what retention deleted counts in its backfill all the same
        self.chunks: list[Chunk] = []
        self.claims: list[Claim] = []
        self.deletions: list[DeletionClaim] = []

    @initialize()
    def begin(self) -> None:
        with self.ledger._database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table is not image_counts:  # as the requests go, it comes to nothing
                    connection.execute(delete(table))

    @rule(
        taken=st.lists(IMAGES, min_size=1, max_size=3),
        full=st.booleans(),
        lane=st.sampled_from([Lane.INGEST, Lane.PRIORITY]),
        batch=st.sampled_from([None, 1]),
        only_stale=st.booleans(),
    )
    def take_in(self, taken: list[AssetId], full: bool, lane: Lane, batch: int | None, only_stale: bool) -> None:
        fields = AssetFields("https://example.org/page.jpg", None, None, None, None) if full else None
        reference = BatchReference(batch, None) if batch else None
        received = [
            InboxMessage(new_id(), "q", lane, "", IngestMessage(image, None, reference, fields), only_stale=only_stale)
            for image in taken
        ]
        self.ledger.inbox.take_in(received, policy=IntakePolicy(refuse_ftp, WAIT), now=self.now)

    @rule(image=IMAGES)
    def request_deletion(self, image: AssetId) -> None:
        self.ledger.deletions.request([AssetDeleted(image, None, None, frozenset(), ())], now=self.now)

    @rule(minutes=st.sampled_from([1, 11, 61]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.ledger.inbox.reject_overdue(self.now)

    @rule(lane=st.sampled_from(Lane))
    def dispatch(self, lane: Lane) -> None:
        due = self.ledger.dispatch.due([lane], limit=10, now=self.now)
        if due:
            planned = Chunk(new_id(), lane, 2, 1, frozenset(STAGES), "/a", "/z", tuple(due))
            self.chunks += self.ledger.dispatch.reserve([planned], self.now)

    @precondition(lambda self: self.chunks)
    @rule(starts=st.booleans(), by_operator=st.booleans())
    def run_chunk(self, starts: bool, by_operator: bool) -> None:
        chunk = self.chunks.pop(0)
        self.ledger.dispatch.mark_launched(chunk.id, chunk.id)
        if not starts:
            self.ledger.claims.release_run(chunk.id, schedule=SCHEDULE, now=self.now, terminated=by_operator)
        elif chunk.lane is Lane.DELETE:
            deletion = self.ledger.deletions.claim(chunk.id, chunk.id, now=self.now)
            assert deletion is not None
            self.deletions.append(deletion)
        else:
            claim = self.ledger.claims.claim_chunk(chunk.id, chunk.id, now=self.now)
            assert claim is not None
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(count=st.integers(1, 2))
    def begin_images(self, count: int) -> None:
        claim = self.claims[0]
        ids = [item.request_id for item in claim.items[:count]]
        self.ledger.claims.begin(claim.token, ids, now=self.now)

    @precondition(lambda self: self.deletions)
    @rule()
    def begin_deletion(self) -> None:
        claim = self.deletions[0]
        ids = [deletion.request_id for deletion in claim.deletions[:1]]
        self.ledger.claims.begin(claim.token, ids, now=self.now)

    @rule(chosen=st.lists(IMAGES, min_size=1, max_size=2, unique=True), stages=STAGES_DRAWN)
    def launch_by_hand(self, chosen: list[AssetId], stages: set[Stage]) -> None:
        self.claims.append(self.ledger.claims.claim_images(chosen, stages, new_id(), now=self.now))

    @precondition(lambda self: self.claims)
    @rule(error=ERRORS, finishes=st.booleans(), stays=st.booleans())
    def end_run(self, error: IngestError | None, finishes: bool, stays: bool) -> None:
        claim = self.claims.pop(0)
        for item in claim.items if finishes else claim.items[:1]:
            self._finish(claim, item, error, stays)
        self.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=self.now)

    def _finish(self, claim: Claim, item: WorkItem, error: IngestError | None, stays: bool) -> None:
        if error is None:
            for stage in item.stages:
                commit_stage(self.ledger.results, claim, item, result(stage), now=self.now)
        stays = stays and item.renews_done
        end_image(self.ledger.results, claim, item, error, schedule=SCHEDULE, now=self.now, stays=stays)

    @precondition(lambda self: self.deletions)
    @rule(error=ERRORS, finishes=st.booleans())
    def end_deletion(self, error: IngestError | None, finishes: bool) -> None:
        claim = self.deletions.pop(0)
        for deletion in claim.deletions if finishes else claim.deletions[:1]:
            self.ledger.deletions.finish(claim, deletion, error, schedule=SCHEDULE, now=self.now)
        self.ledger.claims.release_run(claim.run_id, schedule=SCHEDULE, now=self.now)

    @precondition(lambda self: self.claims)
    @rule(by_operator=st.booleans())
    def kill_run(self, by_operator: bool) -> None:
        claim = self.claims.pop(0)
        self.ledger.claims.release(claim.token, claim.run_id, schedule=SCHEDULE, now=self.now, terminated=by_operator)

    @rule(image=IMAGES)
    def retry(self, image: AssetId) -> None:
        self.ledger.reports.retry(Selection(ids=(str(image),)), now=self.now)

    @rule(image=IMAGES, stages=STAGES_DRAWN)
    def reprocess(self, image: AssetId, stages: set[Stage]) -> None:
        self.ledger.registrations.request([(image, frozenset(stages))], lane=Lane.BACKFILL, now=self.now)

    @rule(chosen=st.lists(IMAGES, min_size=1, max_size=2, unique=True), stages=STAGES_DRAWN, ends=st.booleans())
    def begin_backfill(self, chosen: list[AssetId], stages: set[Stage], ends: bool) -> None:
        wanted = [(image, frozenset(stages)) for image in chosen]
        number = self.ledger.backfills.begin({"customer": 2}, asked_by="a test", now=self.now)
        self.ledger.backfills.request(number, wanted, now=self.now)
        if ends:
            self.ledger.backfills.all_requested(number, now=self.now)

    @rule()
    def cancel_backfill(self) -> None:
        for backfill in self.ledger.backfills.newest(limit=1):
            self.ledger.backfills.cancel(backfill.id, now=self.now)

    @rule()
    def resume_backfill(self) -> None:
        for backfill in self.ledger.backfills.newest(limit=1):
            self.ledger.backfills.resume(backfill.id, now=self.now)

    @rule()
    def settle_backfills(self) -> None:
        for backfill in self.ledger.backfills.settle(now=self.now):
            assert backfill.unended == 0

    @rule()
    def enforce_retention(self) -> None:
        self.has_forgotten = True
        self.ledger.retention.enforce(history=self.now - WAIT, bodies=self.now)

    @invariant()
    def no_run_is_launched_against_what_is_registered(self) -> None:
        """An image that is registered is not about to be deleted, nor one that is not registered to be ingested."""
        with self.ledger._database.read() as connection:
            rows = connection.execute(select(requests).where(requests.c.state != RequestState.RUNNING)).all()
            registered = set(connection.scalars(select(images.c.id)))
            deletion_of = {row.image_id: row.request_id for row in connection.execute(select(tombstones))}
        for row in rows:
            if row.lane == Lane.DELETE:
                if row.state != RequestState.SUPERSEDED:
                    assert row.image_id not in registered
                if row.state in {*UNFINISHED, RequestState.FAILED}:
                    assert deletion_of[row.image_id] == row.id
            elif row.state in {RequestState.PENDING, RequestState.RESERVED}:
                assert row.image_id in registered

    @invariant()
    def each_change_is_one_of_the_table(self) -> None:
        with self.ledger._database.read() as connection:
            rows = {row.id: row for row in connection.execute(select(requests))}
            held = set(connection.scalars(select(claims.c.request_id)))
            open_chunks = set(connection.scalars(select(chunks.c.id).where(chunks.c.closed_at.is_(None))))
            made = {(row.request_id, row.number): row for row in connection.execute(select(attempts))}
        for row in rows.values():
            check_row(row)
            assert (row.state == RequestState.RUNNING) == (row.id in held)
            assert row.chunk_id is None or row.chunk_id in open_chunks
            before = self.before.get(row.id)
            if before is None:
                assert row.state in BEGINNINGS | BEGINNINGS_AT_ONCE
            elif row.state != before.state:
                assert (before.state, row.state) in ALLOWED | AT_ONCE
        last = {request: max(n for other, n in made if other == request) for request, _ in made}
        for request, number in last.items():
            check_error(rows[request], made[request, number])
        self.before = rows

    @rule()
    def add_up(self) -> None:
        with self.ledger._database.write() as connection:
            add_up(connection)

    @invariant()
    def what_is_kept_is_what_the_requests_say(self) -> None:
        """The request that decides about an image is marked, and so many are counted."""
        with self.ledger._database.read() as connection:
            rows = connection.execute(select(requests)).all()
            kept, counted = kept_counts(connection), counted_from_requests(connection)
            in_batches = connection.execute(select(batches)).all()
        self._check_backfills(rows)
        deleted = {row.image_id: row.id for row in sorted(rows) if row.lane == Lane.DELETE}
        chosen: dict[str, tuple[bool, bool, str]] = {}
        for row in rows:
            if row.state != RequestState.SUPERSEDED:
                has_effect = row.state not in WITHOUT_EFFECT and row.id >= deleted.get(row.image_id, "")
                rank = (row.state in UNFINISHED, has_effect, row.id)
                chosen[row.image_id] = max(rank, chosen.get(row.image_id, rank))
        assert {row.id for row in rows if row.is_current} == {request_id for *_, request_id in chosen.values()}
        assert kept == counted
        assert {(batch.id, batch.customer): batch.images for batch in in_batches} == {
            (batch.id, batch.customer): len({row.image_id for row in rows if row.batch == batch.id})
            for batch in in_batches
        }

    def _check_backfills(self, rows: Sequence[Row[Any]]) -> None:
        """What is kept of each is what its requests say, once each image; what retention deleted is remembered."""
        for backfill in self.ledger.backfills.newest(limit=1000):
            of_it = [row for row in rows if row.backfill == backfill.id]
            assert len({row.image_id for row in of_it}) == len(of_it)
            there = Counter(row.state for row in of_it)
            assert backfill.unended == sum(there[state] for state in UNFINISHED)
            assert backfill.running == there[RequestState.RUNNING]
            assert all(backfill.ended.get(state, 0) >= there[state] for state in ENDED)
            assert (backfill.ended_at is None) or not backfill.unended
            if not self.has_forgotten:
                assert backfill.ended == {state: there[state] for state in ENDED if there[state]}


def check_row(row: Row[Any]) -> None:
    assert (row.finished_at is not None) == (row.state in ENDED)
    assert row.chunk_id is None or row.state in TAKEN
    assert row.superseded_by is None or row.state == RequestState.SUPERSEDED
    if row.state in SUCCESSFUL:
        assert row.error_code is None
    assert (row.error_code is None) == (row.error_cause is None) == (row.error_remedy is None)
    if row.error_code is None:
        assert row.error_stage is None


def check_error(row: Row[Any], attempt: Row[Any]) -> None:
    """A reason is that of the last attempt, or of something that no stage is named for."""
    if row.error_code not in {None, attempt.error_code}:
        assert row.error_stage is None
    elif row.error_code is not None:
        assert row.error_stage == attempt.error_stage


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger that all histories use, one after another."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("ledger")
        url = f"sqlite:///{folder / 'ledger.db'}"
    else:
        server: postgresql.Server = request.getfixturevalue("postgresql_server")
        url = server.new_database()
    ledger = Ledger(url)
    yield ledger
    ledger.close()


def test_histories_of_images_keep_to_the_table_of_states(opened: Ledger) -> None:
    """New requests begin as the table says, every change is in it, and no row is left half changed."""

    class Opened(Histories):
        ledger = opened

    run_state_machine_as_test(
        Opened,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=[*HealthCheck],
        ),
    )
