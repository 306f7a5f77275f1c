"""What a run writes about the images that it holds, and how many such writes are applied in one transaction.

However many images they are for, they take about a dozen statements: one for each table and kind of change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, delete, insert, or_, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.accounting import SOURCE_STAGES, require_growth
from dlcs_assets.ledger.attempts import claim_lost, end_attempt, end_successes, reserved_of
from dlcs_assets.ledger.batches import finish_as_counted
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.details import Details
from dlcs_assets.ledger.outbox import post_invalidations
from dlcs_assets.ledger.records import RetrySchedule, created_at
from dlcs_assets.ledger.tables import claims, outcomes, transient_objects
from dlcs_assets.ledger.write_backs import WriteBack, add_unwritten, delete_gone, end_unsettled


@dataclass(frozen=True, slots=True)
class ImageBegun:
    """Work on the image begins: if the run dies, it may be why."""

    item: WorkItem
    now: datetime


@dataclass(frozen=True, slots=True)
class StageCommit:
    """A stage's outcome and its objects, in the place of what the image had of that stage before.

    `invalidate` are paths that a CDN is to forget because of it.
    """

    item: WorkItem
    result: StageResult
    now: datetime
    invalidate: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QuotaReservation:
    """Bytes that take the place of what the image has of these kinds, within the customer's limit.

    `counted`: what another system counts as stored.
    """

    item: WorkItem
    limit: int
    new: int
    replaces: Collection[ObjectKind]
    counted: int = 0


@dataclass(frozen=True, slots=True)
class TransientObject:
    """An object that is about to be stored, and is to be deleted again. No result of a stage takes its place."""

    item: WorkItem
    stored: ObjectRecord


@dataclass(frozen=True, slots=True)
class RemovedObject:
    """An object that was deleted from storage. Of a transient one no claim is needed: its key is the request's own."""

    item: WorkItem
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """The end of the attempt: done, failed, or pending again if the failure may pass.

    `stays`: where it failed, what was there before is right still. `write_back` is what came of writing it to a DLCS's
    database, where there is one and it was to be written.
    """

    item: WorkItem
    error: IngestError | None
    schedule: RetrySchedule
    now: datetime
    stays: bool = False
    write_back: WriteBack | None = None


Write = ImageBegun | StageCommit | QuotaReservation | TransientObject | RemovedObject | AttemptEnd
# What came of a write: of an end the new state of the request; an error if it was refused, and nothing written for it.
Written = RequestState | ClaimLostError | PermanentError | None


def apply_writes(connection: Connection, token: str, run_id: str, writes: Sequence[Write]) -> list[Written]:
    """Apply the writes of a run; return what came of each, in their order.

    A write of an image that the token does not hold is refused with ClaimLostError, a reservation that exceeds the
    quota with PermanentError. Neither keeps the others from being applied.

    The writes of each image are in the order in which they are to take effect. One that is waited for (a beginning, a
    reservation, a transient object) is the last of its image, so that it comes after all commits, and before no end.
    """
    reserved = reserved_of(connection, token, {str(write.item.asset_id) for write in writes})
    refused: dict[int, Written] = {
        n: claim_lost(write.item.asset_id)
        for n, write in enumerate(writes)
        if str(write.item.asset_id) not in reserved and not isinstance(write, RemovedObject)
    }
    applied = {n: write for n, write in enumerate(writes) if n not in refused}
    _begin(connection, [each for each in applied.values() if isinstance(each, ImageBegun)])
    _commit(connection, run_id, [each for each in applied.values() if isinstance(each, StageCommit)], reserved)
    _remove(connection, [each for each in applied.values() if isinstance(each, RemovedObject)], held=reserved)
    transient = [each for each in applied.values() if isinstance(each, TransientObject)]
    put_transient(connection, [(str(each.item.asset_id), each.stored) for each in transient])
    found = refused | {
        n: _reserve(connection, write) for n, write in applied.items() if isinstance(write, QuotaReservation)
    }
    found |= _end(connection, run_id, {n: write for n, write in applied.items() if isinstance(write, AttemptEnd)})
    return [found.get(n) for n in range(len(writes))]


def put_results(
    connection: Connection, rows: Iterable[tuple[AssetId, StageResult, str, datetime]], *, run_id: str
) -> None:
    """Write outcomes of stages with their objects, in the place of what the images had of those stages before.

    A row is an image, a result, its request and the time. Of two for the same stage of an image the later one holds.
    """
    newest = {(str(row[0]), row[1].stage): row for row in rows}
    if not newest:
        return
    of_stage: dict[Stage, list[str]] = {}
    for image_id, stage in newest:
        of_stage.setdefault(stage, []).append(image_id)
    # In a form for which planners find the index.
    connection.execute(
        delete(outcomes).where(
            or_(*(and_(outcomes.c.image_id.in_(ids), outcomes.c.stage == stage) for stage, ids in of_stage.items()))
        )
    )
    connection.execute(
        insert(outcomes),
        [
            outcome_row(asset_id, result, request_id, now, run_id=run_id)
            for asset_id, result, request_id, now in newest.values()
        ],
    )


def outcome_row(
    asset_id: AssetId, result: StageResult, request_id: str, now: datetime, *, run_id: str, reported: bool = False
) -> dict[str, Any]:
    """Return the row of a stage's outcome, with objects that have not been audited."""
    return {
        "image_id": str(asset_id),
        "customer": asset_id.customer,
        "space": asset_id.space,
        "stage": result.stage,
        "request_id": request_id,
        "run_id": run_id,
        "outcome": result.outcome,
        "committed_at": now,
        "reported": reported,
        **Details.of_result(result).columns(),
    }


def put_transient(connection: Connection, stored: Collection[tuple[str, ObjectRecord]]) -> None:
    """Record transient objects, of images or not, in the place of what is on record under their keys."""
    rows = [
        {
            "image_id": image_id,
            "bucket": record.bucket,
            "key": record.key,
            "bytes": record.bytes,
            "sha256": record.sha256,
            "content_type": record.content_type,
        }
        for image_id, record in stored
    ]
    drop_transient(connection, [(record.bucket, record.key) for _, record in stored])
    if rows:
        connection.execute(insert(transient_objects), rows)


def drop_transient(connection: Connection, stored: Collection[tuple[str, str]]) -> int:
    """Drop what is on record of transient objects, by bucket and key; return how many there were."""
    if not stored:
        return 0
    table = transient_objects
    these = (and_(table.c.bucket == bucket, table.c.key == key) for bucket, key in stored)
    return connection.execute(delete(table).where(or_(*these))).rowcount


def _begin(connection: Connection, begun: Sequence[ImageBegun]) -> None:
    if begun:
        these = claims.c.request_id.in_([each.item.request_id for each in begun])
        connection.execute(update(claims).where(these).values(begun_at=begun[0].now))


def _commit(connection: Connection, run_id: str, commits: Sequence[StageCommit], reserved: Mapping[str, int]) -> None:
    _settle(connection, [each for each in commits if reserved[str(each.item.asset_id)]], reserved)
    post_invalidations(
        connection,
        [(str(each.item.asset_id), each.invalidate, each.now) for each in commits if each.invalidate],
        "access tightened",
    )
    rows = ((each.item.asset_id, each.result, each.item.request_id, each.now) for each in commits)
    put_results(connection, rows, run_id=run_id)


def _settle(connection: Connection, commits: Sequence[StageCommit], reserved: Mapping[str, int]) -> None:
    """Take from the reservations what is about to be rows, so that it does not count twice."""
    if not commits:
        return
    left = {str(each.item.asset_id): reserved[str(each.item.asset_id)] for each in commits}
    query = select(outcomes.c.image_id, outcomes.c.stage, outcomes.c.bytes).where(
        outcomes.c.image_id.in_(left), outcomes.c.stage.in_(SOURCE_STAGES)
    )
    stored = {(row.image_id, Stage(row.stage)): row.bytes or 0 for row in connection.execute(query)}
    for each in commits:
        image_id, stage = str(each.item.asset_id), each.result.stage
        if stage in SOURCE_STAGES:
            new = sum(record.bytes for record in each.result.objects)
            left[image_id] = max(0, left[image_id] - max(0, new - stored.get((image_id, stage), 0)))
            stored[image_id, stage] = new
    _set_reserved(connection, left)


def _remove(connection: Connection, removed: Sequence[RemovedObject], *, held: Collection[str]) -> None:
    """Drop objects from the record: transient ones, and of images that are held also those of their stages."""
    of_held = {(each.bucket, each.key): str(each.item.asset_id) for each in removed if str(each.item.asset_id) in held}
    keys = {(each.bucket, each.key) for each in removed}
    if drop_transient(connection, keys) == len(keys) or not of_held:  # nearly always
        return
    query = select(outcomes.c.image_id, outcomes.c.stage, outcomes.c.details)
    for row in connection.execute(query.where(outcomes.c.image_id.in_(set(of_held.values())))).all():
        left = tuple(each for each in row.details.holdings if (each.record.bucket, each.record.key) not in of_held)
        if len(left) < len(row.details.holdings):
            set_details(connection, row.image_id, row.stage, replace(row.details, holdings=left))


def set_details(connection: Connection, image_id: str, stage: str, details: Details) -> None:
    """Write other details of an outcome."""
    this = and_(outcomes.c.image_id == image_id, outcomes.c.stage == stage)
    connection.execute(update(outcomes).where(this).values(**details.columns()))


def _reserve(connection: Connection, wanted: QuotaReservation) -> PermanentError | None:
    asset_id = wanted.item.asset_id
    try:
        growth = require_growth(connection, asset_id, wanted.limit, wanted.new, wanted.replaces, counted=wanted.counted)
    except PermanentError as error:
        return error
    _set_reserved(connection, {str(asset_id): growth})
    return None


def _set_reserved(connection: Connection, of_image: Mapping[str, int]) -> None:
    size = case(dict(of_image), value=claims.c.image_id)
    connection.execute(update(claims).where(claims.c.image_id.in_(of_image)).values(reserved_bytes=size))


def _end(connection: Connection, run_id: str, ends: Mapping[int, AttemptEnd]) -> dict[int, Written]:
    """End attempts: those that succeeded together, others one by one."""
    found: dict[int, Written] = {}
    for n, end in ends.items():
        if end.write_back is not None:
            found |= _end_written_back(connection, run_id, n, end, end.write_back)
    done = {n: end for n, end in ends.items() if end.error is None and n not in found}
    if done:
        now = max(end.now for end in done.values())
        end_successes(connection, [end.item.request_id for end in done.values()], run_id, now=now)
    found |= dict.fromkeys(done, RequestState.DONE)
    for n, end in ends.items():
        if n not in found:
            found[n] = end_attempt(
                connection,
                end.item.request_id,
                run_id,
                end.error,
                schedule=end.schedule,
                now=end.now,
                stays=end.stays,
            )
    return found


def _end_written_back(
    connection: Connection, run_id: str, number: int, end: AttemptEnd, result: WriteBack
) -> dict[int, Written]:
    """Note what came of writing an end to the DLCS's database; return the state if that decides about it."""
    if result.unwritten is not None and end.stays:  # it is done, and that does not wait
        add_unwritten(connection, end.item.request_id, end.item.asset_id, None, end.now, reason=str(result.unwritten))
        return {}
    if result.unwritten is not None or result.changed is not None:
        return {number: end_unsettled(connection, end.item, run_id, end.error, result, end.now)}
    if result.gone:
        delete_gone(connection, end.item, end.now)
    finish_as_counted(connection, result.finished, since=created_at(end.item.request_id), now=end.now)
    return {}
