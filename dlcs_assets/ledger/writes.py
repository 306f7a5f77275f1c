"""What a run writes about the images that it holds, and how many such writes are applied in one transaction.

However many images they are for, they take about a dozen statements: one for each table and kind of change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, delete, func, insert, or_, select, true, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.quota import SOURCE_KINDS
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.accounting import require_growth
from dlcs_assets.ledger.attempts import claim_lost, end_attempt, end_successes, reserved_of
from dlcs_assets.ledger.batches import finish_as_counted
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.outbox import post_invalidations
from dlcs_assets.ledger.records import RetrySchedule, created_at
from dlcs_assets.ledger.tables import IS_TRANSIENT, claims, objects, outcomes
from dlcs_assets.ledger.write_backs import WriteBack, add_unwritten, delete_gone, end_unsettled

KINDS_OF_STAGE = {
    Stage.ORIGINAL: (ObjectKind.ORIGINAL,),
    Stage.JP2: (ObjectKind.JP2,),
    Stage.THUMBNAILS: (ObjectKind.THUMBNAIL, ObjectKind.SIZES),
}


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
    _add_transient(connection, [each for each in applied.values() if isinstance(each, TransientObject)])
    found = refused | {
        n: _reserve(connection, write) for n, write in applied.items() if isinstance(write, QuotaReservation)
    }
    found |= _end(connection, run_id, {n: write for n, write in applied.items() if isinstance(write, AttemptEnd)})
    return [found.get(n) for n in range(len(writes))]


def put_results(
    connection: Connection, rows: Iterable[tuple[AssetId, StageResult, str, datetime]], *, run_id: str
) -> None:
    """Write outcomes of stages and their objects, in the place of what the images had of those stages before.

    A row is an image, a result, its request and the time. Of two for the same stage of an image the later one holds.
    """
    newest = {(str(row[0]), row[1].stage): row for row in rows}
    if not newest:
        return
    of_stage: dict[Stage, list[str]] = {}
    for image_id, stage in newest:
        of_stage.setdefault(stage, []).append(image_id)
    connection.execute(delete(outcomes).where(_any_of(outcomes, "stage", {each: [each] for each in Stage}, of_stage)))
    connection.execute(
        insert(outcomes),
        [
            {
                "image_id": image_id,
                "stage": stage,
                "request_id": request_id,
                "run_id": run_id,
                "outcome": result.outcome,
                "data_version": result.data_version,
                "facts": dict(result.facts),
                "recipe": dict(result.recipe),
                "committed_at": now,
                "reported": False,
            }
            for (image_id, stage), (_, result, request_id, now) in newest.items()
        ],
    )
    connection.execute(delete(objects).where(_any_of(objects, "kind", KINDS_OF_STAGE, of_stage)))
    stored = [object_row(asset_id, each) for asset_id, result, *_ in newest.values() for each in result.objects]
    if stored:
        connection.execute(insert(objects), stored)


def object_row(asset_id: AssetId, stored: ObjectRecord) -> dict[str, Any]:
    """Return the row of an object that was stored and has not been audited."""
    of_image = {"image_id": str(asset_id), "customer": asset_id.customer, "space": asset_id.space}
    return object_columns(stored) | of_image


def object_columns(stored: ObjectRecord) -> dict[str, Any]:
    """Return what rows of objects have, of images or not."""
    return {
        "bucket": stored.bucket,
        "key": stored.key,
        "kind": stored.kind,
        "bytes": stored.bytes,
        "sha256": stored.sha256,
        "content_type": stored.content_type,
    }


def _any_of(
    table: Table, column: str, values: Mapping[Stage, Collection[str]], of_stage: Mapping[Stage, Sequence[str]]
) -> ColumnElement[bool]:
    """Return the condition for the rows of these images and stages, in a form for which planners find the index."""
    return or_(
        *(
            and_(table.c.image_id.in_(image_ids), table.c[column].in_(values[stage]))
            for stage, image_ids in of_stage.items()
        )
    )


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
    query = (
        select(objects.c.image_id, objects.c.kind, func.sum(objects.c.bytes))
        .where(objects.c.image_id.in_(left), objects.c.kind.in_(SOURCE_KINDS))
        .group_by(objects.c.image_id, objects.c.kind)
    )
    stored = {(image_id, ObjectKind(kind)): int(size) for image_id, kind, size in connection.execute(query)}
    for each in commits:
        image_id = str(each.item.asset_id)
        for kind in set(KINDS_OF_STAGE[each.result.stage]).intersection(SOURCE_KINDS):
            new = sum(record.bytes for record in each.result.objects if record.kind is kind)
            left[image_id] = max(0, left[image_id] - max(0, new - stored.get((image_id, kind), 0)))
            stored[image_id, kind] = new
    _set_reserved(connection, left)


def _remove(connection: Connection, removed: Sequence[RemovedObject], *, held: Collection[str]) -> None:
    if removed:
        these = (
            and_(
                objects.c.bucket == each.bucket,
                objects.c.key == each.key,
                true() if str(each.item.asset_id) in held else IS_TRANSIENT,
            )
            for each in removed
        )
        connection.execute(delete(objects).where(or_(*these)))


def _add_transient(connection: Connection, added: Sequence[TransientObject]) -> None:
    if added:
        earlier = [RemovedObject(each.item, each.stored.bucket, each.stored.key) for each in added]
        _remove(connection, earlier, held={str(each.item.asset_id) for each in added})
        connection.execute(insert(objects), [object_row(each.item.asset_id, each.stored) for each in added])


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
