"""Ends of images that a DLCS's database is to have: what is to be written there, and what came of it.

Without such a database there are none. A request whose end could not be written is pending, with that reason, and a row
says how it ended. What of the image is true is read when it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, exists, func, insert, or_, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.batch import Batch
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.request_states import ENDED, UNFINISHED, WITHOUT_EFFECT, Event, RequestState
from dlcs_assets.domain.results import ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger.attempts import add_attempt, remove_signatures
from dlcs_assets.ledger.batches import finish_as_counted, post_finished
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.deletions import request_deletion
from dlcs_assets.ledger.outbox import LONGEST_ERROR, next_try
from dlcs_assets.ledger.overtaken import end_overtaken, request_again
from dlcs_assets.ledger.records import created_at, new_id, recorded_results, registration_columns, slices
from dlcs_assets.ledger.tables import OF_PRIORITY, batches, claims, images, messages, requests, write_backs
from dlcs_assets.ledger.transitions import Failure, Reason, change_state

_OVERTAKEN: Final = (RequestState.RESERVED, RequestState.RUNNING, RequestState.SUPERSEDED, RequestState.DELETED)
# A request that waits for it is pending, and not for a run.
IS_UNWRITTEN: Final = exists().where(write_backs.c.id == requests.c.id)
# Which queue its message came from: the lane of a request changes, when it is tried again and for the sake of others.
_OF_PRIORITY: Final = exists().where(messages.c.request_id == requests.c.id, OF_PRIORITY)
_OUTDATED: Final = select(write_backs.c.id).where(
    exists().where(
        requests.c.image_id == write_backs.c.image_id,
        requests.c.id > write_backs.c.id,
        requests.c.state.in_(set(ENDED) - set(WITHOUT_EFFECT)),
    )
)


@dataclass(frozen=True, slots=True)
class WriteBack:
    """What came of writing an end to the DLCS's database. If nothing is set, it has it.

    `finished` are batches that have ended there, `unwritten` is why it could not be written. Of an image that has
    `changed` there, or is `gone`, nothing was written.
    """

    finished: tuple[Batch, ...] = ()
    unwritten: IngestError | None = None
    changed: Registration | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class EndFacts:
    """What the ledger knows of an image whose request has ended, or is about to.

    `results` has of each stage the request that it was made for, and the result. `batches` are those that asked for the
    image, with the lane of the message: also those of requests that this one took the place of. `is_outdated`: a newer
    request for the image has ended, and decides about all but these batches.
    """

    request_id: str
    asset_id: AssetId
    registration: Registration | None = None
    results: Mapping[Stage, tuple[str, StageResult]] = field(default_factory=dict)
    stored: tuple[ObjectRecord, ...] = ()
    batches: Mapping[int, Lane] = field(default_factory=dict)
    is_outdated: bool = False


@dataclass(frozen=True, slots=True)
class Unwritten:
    """An end that is to be written. `failure` is why the image is not done; `tries` have failed."""

    id: str
    facts: EndFacts
    failure: Reason | None
    tries: int


class WriteBacks:
    """What a DLCS's database is to have, and has not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, items: Sequence[WorkItem]) -> dict[str, EndFacts]:
        """Return what is known of images that a run is about to end, by request."""
        named = {item.request_id: (item.asset_id, item.registration) for item in items}
        with self._database.read() as connection:
            return _facts(connection, named)

    def due(self, *, now: datetime, limit: int = 200) -> list[Unwritten]:
        """Return what is to be written now: first what was tried least, then the oldest."""
        query = (
            select(write_backs)
            .where(write_backs.c.due_at <= now)
            .order_by(write_backs.c.tries, write_backs.c.created_at, write_backs.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            if not rows:
                return []
            known = select(images.c.id, images.c.registration).where(images.c.id.in_([row.image_id for row in rows]))
            registered = {row.id: Registration.of_json(row.registration) for row in connection.execute(known)}
            named = {row.id: (AssetId.parse(row.image_id), registered.get(row.image_id)) for row in rows}
            facts = _facts(connection, named)
            outdated = set(connection.scalars(_OUTDATED.where(write_backs.c.id.in_(named))))
        return [
            Unwritten(
                row.id,
                replace(_of_message(row, facts[row.id]), is_outdated=row.id in outdated),
                _failure(row),
                row.tries,
            )
            for row in rows
        ]

    def forget_overtaken(self) -> None:
        """Drop what newer requests for the images will write."""
        overtaken = exists().where(requests.c.id == write_backs.c.id, requests.c.state.in_(_OVERTAKEN))
        with self._database.read() as connection:
            if connection.execute(select(write_backs.c.id).where(overtaken).limit(1)).first() is None:
                return
        with self._database.write() as connection:
            connection.execute(delete(write_backs).where(overtaken))

    def settle(self, end: Unwritten, result: WriteBack, *, now: datetime) -> None:
        """Note what came of writing an end: the request has ended, or the image is due again."""
        request = requests.c.id == end.id
        with self._database.write() as connection:
            connection.execute(delete(write_backs).where(write_backs.c.id == end.id))
            if result.changed is not None:
                if change_state(connection, Event.CHANGED, request, due_at=now):
                    _make_again(connection, end.facts.asset_id, result.changed, now)
            elif result.gone:
                _delete(connection, end.facts.asset_id, end.facts.registration, now)
            elif end.failure is not None:
                change_state(connection, Event.FAILURE_WRITTEN, request, now=now, failure=end.failure)
            elif change_state(connection, Event.WRITTEN, request, now=now) and end.facts.registration:
                remove_signatures(connection, {str(end.facts.asset_id): end.facts.registration.to_json()})
            finish_as_counted(connection, result.finished, since=created_at(end.id), now=now)

    def mark_failed(self, failed: Unwritten, error: IngestError, *, now: datetime, others_wait: bool) -> None:
        """Note why an end could not be written. `others_wait`: no other would fare better until then."""
        due_at = next_try(failed.tries, now)
        values = {"tries": failed.tries + 1, "error": str(error)[:LONGEST_ERROR], "due_at": due_at}
        with self._database.write() as connection:
            connection.execute(update(write_backs).where(write_backs.c.id == failed.id).values(values))
            if others_wait:
                connection.execute(update(write_backs).where(write_backs.c.due_at < due_at).values(due_at=due_at))

    def in_progress(self, image_ids: Sequence[str]) -> set[str]:
        """Return the images among these that have a request that has not ended, or an end that is to be written."""
        found: set[str] = set()
        with self._database.read() as connection:
            for ids in slices(image_ids):
                unfinished = requests.c.image_id.in_(ids), requests.c.state.in_(UNFINISHED)
                found.update(connection.scalars(select(requests.c.image_id).where(*unfinished)))
                found.update(connection.scalars(select(write_backs.c.image_id).where(write_backs.c.image_id.in_(ids))))
        return found

    def report_finished(self, batch: Batch, *, now: datetime) -> None:
        """Write the notification of a batch that has finished in the DLCS, which may be none of those known here."""
        with self._database.write() as connection:
            known = select(batches.c.id).where(batches.c.id == batch.id, batches.c.customer == batch.customer)
            if connection.execute(known).first() is None:
                post_finished(connection, batch, now)
            else:
                finish_as_counted(connection, [batch], since=batch.submitted_at, now=now)

    def unwritten(self) -> tuple[int, str | None]:
        """Count what is to be written, and say why the one that was tried most was not."""
        with self._database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(write_backs)) or 0
            worst = select(write_backs.c.error).order_by(write_backs.c.tries.desc()).limit(1)
            return count, connection.scalar(worst) if count else None


def end_unsettled(  # noqa: PLR0917 (an attempt, and what came of it)
    connection: Connection, item: WorkItem, run_id: str, error: IngestError | None, result: WriteBack, now: datetime
) -> RequestState:
    """End an attempt of which the DLCS's database has not got the end: it is away, or the image has changed there."""
    request = requests.c.id == item.request_id
    if result.unwritten is not None:
        due_at = next_try(0, now)
        change_state(connection, Event.ENDED_UNWRITTEN, request, due_at=due_at, failure=result.unwritten)
        add_unwritten(
            connection, item.request_id, item.asset_id, error, now, due_at=due_at, reason=str(result.unwritten)
        )
        add_attempt(connection, item.request_id, run_id, (RequestState.PENDING, result.unwritten), now)
    else:
        assert result.changed is not None
        change_state(connection, Event.CHANGED, request, due_at=now)
        add_attempt(connection, item.request_id, run_id, (RequestState.PENDING, None), now)
    end_overtaken(connection, request, now=now)
    connection.execute(delete(claims).where(claims.c.request_id == item.request_id))
    state = RequestState(connection.scalars(select(requests.c.state).where(request)).one())
    if result.changed is not None and state is RequestState.PENDING:
        _make_again(connection, item.asset_id, result.changed, now)
    return state


def delete_gone(connection: Connection, item: WorkItem, now: datetime) -> None:
    """Request the deletion of an image that a run has made, and that the DLCS no longer has."""
    _delete(connection, item.asset_id, item.registration, now)


def add_unwritten(
    connection: Connection,
    request_id: str | None,
    asset_id: AssetId,
    failure: Failure | None,
    now: datetime,
    *,
    due_at: datetime | None = None,
    reason: str | None = None,
    batch: int | None = None,
    lane: Lane = Lane.INGEST,
) -> None:
    """Have an end written. Without a request it is that of a message that was rejected."""
    row = {
        "id": request_id or new_id(),
        "image_id": str(asset_id),
        "batch": batch,
        "lane": lane,
        "failure_code": failure.code if failure else None,
        "failure_stage": failure.stage if failure else None,
        "failure_cause": failure.cause if failure else None,
        "failure_remedy": failure.remedy if failure else None,
        "created_at": now,
        "due_at": due_at or now,
        "tries": 0 if due_at is None else 1,
        "error": reason and reason[:LONGEST_ERROR],
    }
    connection.execute(delete(write_backs).where(write_backs.c.id == row["id"]))
    connection.execute(insert(write_backs), [row])


def add_failed(connection: Connection, request_ids: Sequence[str], now: datetime) -> None:
    """Have the ends of requests written that failed without a run that could do it."""
    ended = (RequestState.FAILED, RequestState.CANCELLED)
    failed = select(requests).where(requests.c.id.in_(request_ids), requests.c.state.in_(ended))
    for row in connection.execute(failed.where(requests.c.lane != Lane.DELETE)).all():
        reason = Reason(row.error_code, row.error_cause, row.error_remedy, row.error_stage)
        add_unwritten(connection, row.id, AssetId.parse(row.image_id), reason, now)


def _facts(connection: Connection, named: Mapping[str, tuple[AssetId, Registration | None]]) -> dict[str, EndFacts]:
    ids, image_ids = list(named), [str(asset_id) for asset_id, _ in named.values()]
    recorded = recorded_results(connection, image_ids)
    results, stored = recorded.of_stages, recorded.objects
    batches: dict[str, dict[int, Lane]] = {}
    asked = select(requests.c.id, requests.c.superseded_by, requests.c.batch, _OF_PRIORITY).where(
        requests.c.batch.is_not(None), or_(requests.c.id.in_(ids), requests.c.superseded_by.in_(ids))
    )
    for own, later, batch, is_priority in connection.execute(asked):
        lane = Lane.PRIORITY if is_priority else Lane.INGEST
        batches.setdefault(own if own in named else later, {})[batch] = lane
    return {
        request_id: EndFacts(
            request_id,
            asset_id,
            registration,
            results.get(str(asset_id), {}),
            tuple(stored.get(str(asset_id), ())),
            batches.get(request_id, {}),
        )
        for request_id, (asset_id, registration) in named.items()
    }


def _of_message(row: Any, facts: EndFacts) -> EndFacts:
    """Return the facts of a rejected message, of which only its batch is known, or of a request."""
    if row.batch is None:
        return facts
    return EndFacts(row.id, facts.asset_id, batches={row.batch: Lane(row.lane)})


def _failure(row: Any) -> Reason | None:
    if row.failure_code is None:
        return None
    stage = None if row.failure_stage is None else Stage(row.failure_stage)
    return Reason(row.failure_code, row.failure_cause, row.failure_remedy, stage)


def _make_again(connection: Connection, asset_id: AssetId, registration: Registration, now: datetime) -> None:
    """Take over what the DLCS says now, and request all of it: what a request has made it does not make again."""
    connection.execute(update(images).where(images.c.id == str(asset_id)).values(registration_columns(registration)))
    request_again(connection, asset_id, now)


def _delete(connection: Connection, asset_id: AssetId, registration: Registration | None, now: datetime) -> None:
    """Delete here what the DLCS had, and has no more. What it never had is no affair of its."""
    if registration is not None and registration.of_dlcs:
        request_deletion(connection, AssetDeleted(asset_id, now, None, frozenset(), ()), now)
