"""What runs record: an image's outcomes and objects, stage by stage, and the end of the attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.quota import SOURCE_KINDS
from dlcs_assets.domain.request_states import UNFINISHED, RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.accounting import require_growth, stored_of
from dlcs_assets.ledger.attempts import ClaimLostError, check_claim, end_attempt
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.outbox import post_invalidation
from dlcs_assets.ledger.records import RetrySchedule, new_id, slices, stage_results
from dlcs_assets.ledger.tables import IS_TRANSIENT, claims, objects, outcomes, requests

__all__ = ["Claim", "ClaimLostError", "Results"]

CONTROL_LIFETIME = timedelta(hours=1)  # of an object that no image has: many times what a check of a service takes
_CONTROL = "control/"  # in the place of an image's id, before an id that sorts by time
KINDS_OF_STAGE = {
    Stage.ORIGINAL: (ObjectKind.ORIGINAL,),
    Stage.JP2: (ObjectKind.JP2,),
    Stage.THUMBNAILS: (ObjectKind.THUMBNAIL, ObjectKind.SIZES),
}


class Results:
    """The only way to write outcomes. Every write is refused with ClaimLostError once the claim has gone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve_quota(
        self, claim: Claim, item: WorkItem, limit: int, new: int, replaces: Collection[ObjectKind]
    ) -> None:
        """Check that `new` bytes in place of what the image has of these kinds fit in, and reserve what it grows by.

        That takes the place of what was reserved for the image before, and lasts until it is committed or the claim
        ends. Raises `PermanentError`, code `quota_exceeded`, if they don't fit in, and then changes nothing.
        """
        with self._database.write() as connection:
            check_claim(connection, claim.token, item.asset_id)
            _set_reserved(connection, item, require_growth(connection, item.asset_id, limit, new, replaces))

    def commit(
        self,
        claim: Claim,
        item: WorkItem,
        result: StageResult,
        *,
        invalidate: Sequence[str] = (),
        now: datetime,
    ) -> None:
        """Record a stage's outcome and its objects, in the place of what the image had of that stage before.

        `invalidate` are paths that a CDN is to forget because of it.
        """
        image_id = str(item.asset_id)
        with self._database.write() as connection:
            reserved = check_claim(connection, claim.token, item.asset_id)
            if reserved:
                _settle(connection, item, result, reserved)
            if invalidate:
                post_invalidation(connection, image_id, "access tightened", invalidate, now)
            put_result(connection, item.asset_id, result, request_id=item.request_id, run_id=claim.run_id, now=now)

    def add_transient(self, claim: Claim, item: WorkItem, stored: ObjectRecord) -> None:
        """Record an object before it is stored that is to be deleted again. No result of a stage takes its place."""
        with self._database.write() as connection:
            check_claim(connection, claim.token, item.asset_id)
            connection.execute(delete(objects).where(objects.c.bucket == stored.bucket, objects.c.key == stored.key))
            connection.execute(insert(objects), [object_row(item.asset_id, stored)])

    def add_control(self, stored: ObjectRecord) -> None:
        """Record an object before it is stored that no image has, and that is to be deleted within moments."""
        with self._database.write() as connection:
            row = _object_columns(stored) | {"image_id": f"{_CONTROL}{new_id()}", "customer": 0, "space": 0}
            connection.execute(insert(objects), [row])

    def left_transient(self, *, limit: int) -> list[S3Location]:
        """Return transient objects that runs left, or were about to store: of images for which no request is open.

        Also those of no image, once they cannot be in use any more.
        """
        unfinished = exists().where(requests.c.image_id == objects.c.image_id, requests.c.state.in_(UNFINISHED))
        newest_left = f"{_CONTROL}{new_id(datetime.now(UTC) - CONTROL_LIFETIME)}"
        in_use = and_(objects.c.image_id.startswith(_CONTROL), objects.c.image_id > newest_left)
        query = select(objects.c.bucket, objects.c.key).where(IS_TRANSIENT, ~unfinished, ~in_use).limit(limit)
        with self._database.read() as connection:
            return [S3Location(row.bucket, row.key) for row in connection.execute(query)]

    def remove_object(self, bucket: str, key: str) -> None:
        """Drop the row of an object that was deleted from storage."""
        with self._database.write() as connection:
            connection.execute(delete(objects).where(objects.c.bucket == bucket, objects.c.key == key))

    def finish(
        self, claim: Claim, item: WorkItem, error: IngestError | None, *, schedule: RetrySchedule, now: datetime
    ) -> RequestState:
        """End the attempt: done, failed, or pending again if the failure may pass; return which."""
        with self._database.write() as connection:
            check_claim(connection, claim.token, item.asset_id)
            return end_attempt(connection, item.request_id, claim.run_id, error, schedule=schedule, now=now)

    def mark_reported(self, done: Iterable[tuple[AssetId, Stage, str]]) -> None:
        """Note that Dagster has these outcomes: (image, stage, request)."""
        with self._database.write() as connection:
            for asset_id, stage, request_id in done:
                connection.execute(
                    update(outcomes)
                    .where(
                        outcomes.c.image_id == str(asset_id),
                        outcomes.c.stage == stage,
                        outcomes.c.request_id == request_id,
                    )
                    .values(reported=True)
                )

    def report_again(self, image_ids: Sequence[str]) -> None:
        """Mark the outcomes of these images as unreported; reconcile reports those that Dagster does not have."""
        for ids in slices(image_ids):
            with self._database.write() as connection:
                connection.execute(update(outcomes).where(outcomes.c.image_id.in_(ids)).values(reported=False))

    def unreported(self, *, limit: int) -> list[tuple[AssetId, str, str, StageResult]]:
        """Return outcomes that Dagster may not have, of images that no run holds: (image, request, run, result)."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(outcomes)
                .outerjoin(claims, claims.c.image_id == outcomes.c.image_id)
                .where(outcomes.c.reported.is_(False), claims.c.image_id.is_(None))
                .order_by(outcomes.c.committed_at)
                .limit(limit)
            ).all()
            results = stage_results(connection, [row.image_id for row in rows])
        return [
            (AssetId.parse(row.image_id), row.request_id, row.run_id, results[row.image_id][Stage(row.stage)][1])
            for row in rows
        ]


def put_result(
    connection: Connection,
    asset_id: AssetId,
    result: StageResult,
    *,
    request_id: str,
    run_id: str,
    now: datetime,
) -> None:
    """Write a stage's outcome and its objects, in the place of what the image had of that stage before."""
    image_id = str(asset_id)
    connection.execute(delete(outcomes).where(outcomes.c.image_id == image_id, outcomes.c.stage == result.stage))
    connection.execute(
        insert(outcomes).values(
            image_id=image_id,
            stage=result.stage,
            request_id=request_id,
            run_id=run_id,
            outcome=result.outcome,
            data_version=result.data_version,
            facts=dict(result.facts),
            recipe=dict(result.recipe),
            committed_at=now,
            reported=False,
        )
    )
    connection.execute(
        delete(objects).where(objects.c.image_id == image_id, objects.c.kind.in_(KINDS_OF_STAGE[result.stage]))
    )
    if result.objects:
        connection.execute(insert(objects), [object_row(asset_id, stored) for stored in result.objects])


def object_row(asset_id: AssetId, stored: ObjectRecord) -> dict[str, Any]:
    """Return the row of an object that was stored and has not been audited."""
    of_image = {"image_id": str(asset_id), "customer": asset_id.customer, "space": asset_id.space}
    return _object_columns(stored) | of_image


def _object_columns(stored: ObjectRecord) -> dict[str, Any]:
    return {
        "bucket": stored.bucket,
        "key": stored.key,
        "kind": stored.kind,
        "bytes": stored.bytes,
        "sha256": stored.sha256,
        "content_type": stored.content_type,
    }


def _settle(connection: Connection, item: WorkItem, result: StageResult, reserved: int) -> None:
    """Take from the reservation what is about to be rows, so that it does not count twice."""
    kinds = [kind for kind in KINDS_OF_STAGE[result.stage] if kind in SOURCE_KINDS]
    new = sum(stored.bytes for stored in result.objects if stored.kind in kinds)
    growth = new - stored_of(connection, item.asset_id, kinds)
    _set_reserved(connection, item, max(0, reserved - max(0, growth)))


def _set_reserved(connection: Connection, item: WorkItem, reserved: int) -> None:
    connection.execute(update(claims).where(claims.c.image_id == str(item.asset_id)).values(reserved_bytes=reserved))
