"""What runs record: an image's outcomes and objects, stage by stage, and the end of the attempt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, exists, or_, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import UNFINISHED, RequestState
from dlcs_assets.domain.results import ObjectRecord, StageResult
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.attempts import ClaimLostError
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import new_id, slices, stage_result, stages_of
from dlcs_assets.ledger.tables import attempts, claims, images, outcomes, requests, transient_objects
from dlcs_assets.ledger.transitions import Reason, mark_reported
from dlcs_assets.ledger.writes import (
    QuotaReservation,
    Write,
    Written,
    apply_writes,
    drop_transient,
    put_transient,
)

__all__ = ["Claim", "ClaimLostError", "Results"]

CONTROL_LIFETIME = timedelta(hours=1)  # of an object that no image has: many times what a check of a service takes
_CONTROL = "control/"  # in the place of an image's id, before an id that sorts by time


@dataclass(frozen=True, slots=True)
class UnreportedFailure:
    """A request that failed, why, and its last run, if any. `stands`: the image is registered, and failed still."""

    asset_id: AssetId
    request_id: str
    run_id: str | None
    reason: Reason
    stages: frozenset[Stage]
    stands: bool


class Results:
    """The only way to write outcomes. Every write is refused with ClaimLostError once the claim has gone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, claim: Claim, writes: Sequence[Write]) -> list[Written]:
        """Apply what the run writes in one transaction; return what came of each (`apply_writes`), in their order."""
        quotas_of = {write.item.asset_id.customer for write in writes if isinstance(write, QuotaReservation)}
        with self._database.write_held(quotas_of=quotas_of) as connection:
            return apply_writes(connection, claim.token, claim.run_id, writes)

    def add_control(self, stored: ObjectRecord) -> None:
        """Record an object before it is stored that no image has, and that is to be deleted within moments."""
        with self._database.write() as connection:
            put_transient(connection, [(f"{_CONTROL}{new_id()}", stored)])

    def left_transient(self, *, limit: int) -> list[S3Location]:
        """Return transient objects that runs left, or were about to store: of images for which no request is open.

        Also those of no image, once they cannot be in use any more.
        """
        left = transient_objects.c
        unfinished = exists().where(requests.c.image_id == left.image_id, requests.c.state.in_(UNFINISHED))
        newest_left = f"{_CONTROL}{new_id(datetime.now(UTC) - CONTROL_LIFETIME)}"
        in_use = and_(left.image_id.startswith(_CONTROL), left.image_id > newest_left)
        query = select(left.bucket, left.key).where(~unfinished, ~in_use).limit(limit)
        with self._database.read() as connection:
            return [S3Location(row.bucket, row.key) for row in connection.execute(query)]

    def remove_transient(self, bucket: str, key: str) -> None:
        """Drop the row of a transient object that was deleted from storage."""
        with self._database.write() as connection:
            drop_transient(connection, [(bucket, key)])

    def mark_reported(self, done: Iterable[tuple[AssetId, Stage, str]]) -> None:
        """Note that Dagster has these outcomes: (image, stage, request)."""
        of_stage: dict[Stage, list[tuple[str, str]]] = {}
        for asset_id, stage, request_id in done:
            of_stage.setdefault(stage, []).append((str(asset_id), request_id))
        if not of_stage:
            return
        # A request is for one image: no pair of an image and another one's request is found.
        these = or_(
            *(
                and_(
                    outcomes.c.image_id.in_([image_id for image_id, _ in pairs]),
                    outcomes.c.stage == stage,
                    outcomes.c.request_id.in_([request_id for _, request_id in pairs]),
                )
                for stage, pairs in of_stage.items()
            )
        )
        with self._database.write() as connection:
            connection.execute(update(outcomes).where(these).values(reported=True))

    def mark_failures_reported(self, request_ids: Sequence[str]) -> None:
        """Note that Dagster has why these requests failed, or that no partition is to say so."""
        for ids in slices(request_ids):
            with self._database.write() as connection:
                mark_reported(connection, ids)

    def unreported_failures(self, *, limit: int) -> list[UnreportedFailure]:
        """Return failures that Dagster may not have."""
        run = select(attempts.c.run_id).where(attempts.c.request_id == requests.c.id)
        last_run = run.order_by(attempts.c.number.desc()).limit(1).scalar_subquery()
        is_registered = exists().where(images.c.id == requests.c.image_id)
        query = (
            select(requests, last_run.label("run_id"), is_registered.label("is_registered"))
            .where(~requests.c.is_reported)
            .order_by(requests.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [
            UnreportedFailure(
                AssetId.parse(row.image_id),
                row.id,
                row.run_id,
                Reason(
                    row.error_code,
                    row.error_cause,
                    row.error_remedy,
                    Stage(row.error_stage) if row.error_stage else None,
                ),
                stages_of(row.stages),
                stands=bool(row.is_current and row.is_registered and row.state == RequestState.FAILED),
            )
            for row in rows
        ]

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
        return [(AssetId.parse(row.image_id), row.request_id, row.run_id, stage_result(row)) for row in rows]
