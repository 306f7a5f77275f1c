"""Deleting the images of a claim, and recording how each of them ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.invalidation import paths_to_invalidate
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.ingest.cleanup import delete_image_objects
from dlcs_assets.ledger.attempts import ClaimLostError
from dlcs_assets.ledger.deletions import Deletion, DeletionClaim
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import RetrySchedule


@dataclass(frozen=True)
class DeletionEnded:
    """How the deletion of one image ended.

    `deleted` counts its objects, `left` are the keys that were skipped, `invalidated` the paths that a CDN is to drop.
    `state` is None if the image was given to another run.
    """

    asset_id: AssetId
    state: RequestState | None
    deleted: int = 0
    left: tuple[str, ...] = ()
    invalidated: tuple[str, ...] = ()
    error: IngestError | None = None


def delete_images(
    claim: DeletionClaim, ledger: Ledger, storage: Storage, schedule: RetrySchedule, *, tells_cdn: bool
) -> Iterator[DeletionEnded]:
    """Delete every image of the claim, and record in the ledger how that ended. The caller releases the run."""
    for deletion in claim.deletions:
        error: IngestError | None = None
        deleted, left = 0, list[str]()
        try:
            ledger.deletions.check(claim, deletion)
            deleted, left = delete_image_objects(storage, deletion.asset_id, ledger.reports.origins_among)
        except ClaimLostError:
            yield DeletionEnded(deletion.asset_id, None)
            continue
        except IngestError as raised:
            error = raised
        paths = _paths(deletion) if tells_cdn else ()
        state = ledger.deletions.finish(
            claim, deletion, error, invalidate=paths, schedule=schedule, now=datetime.now(UTC)
        )
        invalidated = () if error else paths
        yield DeletionEnded(deletion.asset_id, state, deleted, tuple(left), invalidated, error)


def _paths(deletion: Deletion) -> tuple[str, ...]:
    """Return the paths to invalidate, if the deletion asks for that."""
    if "cdn" not in deletion.detail.get("delete_from", ()):
        return ()
    channels = [Channel(name) for name in deletion.detail.get("channels", ())]
    return paths_to_invalidate(deletion.asset_id, channels, deletion.detail.get("customer_name"))
