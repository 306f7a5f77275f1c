"""Deleting images: requested, held by a run, and then a tombstone, so that messages sent before it are recognised."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.request_states import MessageState, RequestState
from dlcs_assets.ledger.attempts import (
    check_claim,
    claim_requests,
    end_attempt,
    take_chunk,
)
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.outbox import post_invalidations
from dlcs_assets.ledger.overtaken import bury, end_overtaken
from dlcs_assets.ledger.records import RetrySchedule, new_id
from dlcs_assets.ledger.tables import (
    chunk_images,
    images,
    messages,
    outcomes,
    requests,
    tombstones,
)


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
    """The images that are to be deleted, or were."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, deleted: Sequence[AssetDeleted], *, now: datetime) -> None:
        """Request the deletion of images, without a notification."""
        with self._database.write() as connection:
            for each in deleted:
                request_deletion(connection, each, now)

    def claim(self, chunk_id: str, run_id: str, *, now: datetime) -> DeletionClaim | None:
        """Hold the images of a chunk; None if the chunk is another run's, or ended."""
        token = new_id()
        with self._database.write() as connection:
            if not take_chunk(connection, chunk_id, run_id):
                return None
            end_overtaken(connection, requests.c.chunk_id == chunk_id, now=now)
            rows = connection.execute(
                select(requests, tombstones.c.detail)
                .join(chunk_images, chunk_images.c.request_id == requests.c.id)
                .join(tombstones, tombstones.c.image_id == requests.c.image_id)
                .where(
                    chunk_images.c.chunk_id == chunk_id,
                    requests.c.chunk_id == chunk_id,
                    tombstones.c.request_id == requests.c.id,
                    requests.c.state == RequestState.RESERVED,
                )
                .order_by(chunk_images.c.position)
            ).all()
            claim_requests(connection, rows, token, run_id, now)
        deletions = tuple(Deletion(row.id, AssetId.parse(row.image_id), row.detail) for row in rows)
        return DeletionClaim(token, run_id, deletions)

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
        """End the attempt. Of a deleted image only its tombstone and its history remain on record.

        However it ended, it is superseded if the image was registered again meanwhile, or its deletion requested again.

        `invalidate` are the paths that a CDN must drop from its cache.
        """
        image_id = str(deletion.asset_id)
        with self._database.write() as connection:
            check_claim(connection, claim.token, deletion.asset_id)
            if error is None:
                # What is transient may still be in S3: it stays on record, until it is deleted.
                connection.execute(delete(outcomes).where(outcomes.c.image_id == image_id))
                own = (tombstones.c.image_id == image_id, tombstones.c.request_id == deletion.request_id)
                connection.execute(update(tombstones).where(*own).values(deleted_at=now))
                if invalidate:
                    post_invalidations(connection, [(image_id, invalidate, now)], "deleted")
            return end_attempt(connection, deletion.request_id, claim.run_id, error, schedule=schedule, now=now)


def request_deletion(connection: Connection, deleted: AssetDeleted, now: datetime) -> str | None:
    """Remove an image's registration and request its deletion; None if it was registered again since it was deleted.

    Requests that no run has begun fail, so that their batches end. One in progress comes to its end first.
    """
    image_id, said_at = str(deleted.asset_id), deleted.sent_at or now
    image = connection.execute(select(images).where(images.c.id == image_id)).one_or_none()
    if image is not None and image.asserted_at is not None and image.asserted_at > said_at:
        return None
    tombstone = connection.execute(select(tombstones).where(tombstones.c.image_id == image_id)).one_or_none()
    if tombstone is not None and image is None and tombstone.asserted_at >= said_at:
        return None  # the same deletion, received twice
    connection.execute(delete(images).where(images.c.id == image_id))
    detail = {
        "customer_name": deleted.customer_name,
        "delete_from": sorted(deleted.delete_from),
        "channels": list(deleted.channels),
    }
    request_id = bury(connection, deleted.asset_id, said_at, detail, now)
    connection.execute(
        update(messages)
        .where(messages.c.image_id == image_id, messages.c.state == MessageState.WAITING)
        .values(state=MessageState.ACCEPTED, body=None, attributes=None)
    )
    return request_id


def forget_deletions(connection: Connection, image_ids: Collection[str], now: datetime) -> None:
    """Forget the deletion of images that are registered again, which the caller has written.

    If its run has not begun, it does not take place. One in progress comes to its end first, and the image is ingested
    after it.
    """
    connection.execute(delete(tombstones).where(tombstones.c.image_id.in_(image_ids)))
    end_overtaken(connection, requests.c.image_id.in_(image_ids), now=now)
