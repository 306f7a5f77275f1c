"""Images that are deleted: asked for, held by a run, and then a tombstone, so that what was sent before finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.stages import Lane, RequestState
from dlcs_assets.ledger.attempts import check_claim, end_attempt, hold, take_chunk
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.outbox import post_invalidation
from dlcs_assets.ledger.records import RetrySchedule, new_id
from dlcs_assets.ledger.requests import request_row
from dlcs_assets.ledger.tables import (
    chunk_images,
    images,
    messages,
    objects,
    outcomes,
    requests,
    tombstones,
)

_UNBEGUN = (RequestState.PENDING, RequestState.WAITING, RequestState.RESERVED)


@dataclass(frozen=True, slots=True)
class Deletion:
    """An image to be deleted. `detail`: customer_name, delete_from and channels, as the notification had them."""

    request_id: str
    asset_id: AssetId
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeletionClaim:
    """The deletions that a run holds now."""

    token: str
    run_id: str
    deletions: tuple[Deletion, ...]


class Deletions:
    """The images that are to go, or have gone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, deleted: Sequence[AssetDeleted], *, now: datetime) -> None:
        """Ask for images to be deleted, without a notification."""
        with self._database.write() as connection:
            for each in deleted:
                ask_to_delete(connection, each, now)

    def claim(self, chunk_id: str, run_id: str, *, now: datetime) -> DeletionClaim | None:
        """Hold the images of a chunk; None if the chunk is another run's, or ended."""
        token = new_id()
        with self._database.write() as connection:
            if not take_chunk(connection, chunk_id, run_id):
                return None
            rows = connection.execute(
                select(requests, tombstones.c.detail)
                .join(chunk_images, chunk_images.c.request_id == requests.c.id)
                .outerjoin(tombstones, tombstones.c.image_id == requests.c.image_id)
                .where(chunk_images.c.chunk_id == chunk_id, requests.c.state == RequestState.RESERVED)
                .order_by(chunk_images.c.position)
            ).all()
            hold(connection, rows, token, run_id, now)
        found = tuple(Deletion(row.id, AssetId.parse(row.image_id), row.detail or {}) for row in rows)
        return DeletionClaim(token, run_id, found)

    def check(self, claim: DeletionClaim, deletion: Deletion) -> None:
        """Raise ClaimLostError unless the run still holds the image."""
        with self._database.read() as connection:
            check_claim(connection, claim.token, deletion.asset_id)

    def finish(
        self,
        claim: DeletionClaim,
        deletion: Deletion,
        error: IngestError | None,
        *,
        invalidate: Sequence[str] = (),
        schedule: RetrySchedule,
        now: datetime,
    ) -> RequestState:
        """End the attempt. Of an image that is gone nothing remains on record but its tombstone and its history.

        `invalidate` are the paths that a CDN is to forget.
        """
        image_id = str(deletion.asset_id)
        with self._database.write() as connection:
            check_claim(connection, claim.token, deletion.asset_id)
            if error is None:
                connection.execute(delete(objects).where(objects.c.image_id == image_id))
                connection.execute(delete(outcomes).where(outcomes.c.image_id == image_id))
                connection.execute(update(tombstones).where(tombstones.c.image_id == image_id).values(deleted_at=now))
                if invalidate:
                    post_invalidation(connection, image_id, "deleted", invalidate, now)
            return end_attempt(
                connection,
                deletion.request_id,
                claim.run_id,
                error,
                schedule=schedule,
                now=now,
                well=RequestState.DELETED,
            )


def ask_to_delete(connection: Connection, deleted: AssetDeleted, now: datetime) -> str | None:
    """Take an image off the record and ask for its deletion; None if it was registered again since it was deleted.

    Requests that nobody has begun fail, so that their batches end. One in work comes to its end first.
    """
    image_id, said_at = str(deleted.asset_id), deleted.sent_at or now
    image = connection.execute(select(images).where(images.c.id == image_id)).one_or_none()
    if image is not None and image.asserted_at is not None and image.asserted_at > said_at:
        return None
    grave = connection.execute(select(tombstones).where(tombstones.c.image_id == image_id)).one_or_none()
    if grave is not None and image is None and grave.asserted_at >= said_at:
        return None  # it is the same deletion, said twice
    request_id = new_id()
    connection.execute(delete(images).where(images.c.id == image_id))
    connection.execute(delete(tombstones).where(tombstones.c.image_id == image_id))
    connection.execute(
        insert(tombstones).values(
            image_id=image_id,
            customer=deleted.asset_id.customer,
            space=deleted.asset_id.space,
            asserted_at=said_at,
            request_id=request_id,
            detail={
                "customer_name": deleted.customer_name,
                "delete_from": sorted(deleted.delete_from),
                "channels": list(deleted.channels),
            },
        )
    )
    _end_unbegun(connection, image_id, request_id, now)
    row = request_row(
        request_id,
        deleted.asset_id,
        lane=Lane.DELETE,
        stages="",
        state=RequestState.PENDING,
        due_at=now,
        now=now,
    )
    connection.execute(insert(requests).values(row))
    return request_id


def was_deleted_since(connection: Connection, asset_id: AssetId, sent_at: datetime | None) -> bool:
    """Tell whether an image was deleted after something about it was sent."""
    said = connection.scalar(select(tombstones.c.asserted_at).where(tombstones.c.image_id == str(asset_id)))
    return said is not None and sent_at is not None and sent_at <= said


def restore(connection: Connection, asset_id: AssetId) -> None:
    """Forget the deletion of an image that is registered anew; one that nobody has begun does not take place."""
    image_id = str(asset_id)
    connection.execute(delete(tombstones).where(tombstones.c.image_id == image_id))
    connection.execute(
        update(requests)
        .where(
            requests.c.image_id == image_id,
            requests.c.lane == Lane.DELETE,
            requests.c.state == RequestState.PENDING,
        )
        .values(state=RequestState.SUPERSEDED)
    )


def _end_unbegun(connection: Connection, image_id: str, request_id: str, now: datetime) -> None:
    mine = (requests.c.image_id == image_id, requests.c.state.in_(_UNBEGUN))
    connection.execute(
        update(requests)
        .where(*mine, requests.c.lane == Lane.DELETE)
        .values(state=RequestState.SUPERSEDED, superseded_by=request_id)
    )
    connection.execute(
        update(requests)
        .where(*mine, requests.c.lane != Lane.DELETE)
        .values(
            state=RequestState.FAILED,
            finished_at=now,
            error_code="image_deleted",
            error_cause="The image was deleted before it was ingested",
            error_remedy="Register it again with a full ingest message, if it is to be there after all",
        )
    )
    connection.execute(
        update(messages)
        .where(messages.c.image_id == image_id, messages.c.state == "waiting")
        .values(state="accepted", body=None)
    )
