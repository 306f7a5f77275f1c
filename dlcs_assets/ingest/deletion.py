"""Deleting the images of a claim, and recording how each of them ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.invalidation import paths_to_invalidate
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.ingest.beginnings import Beginnings
from dlcs_assets.ingest.cleanup import delete_image_objects
from dlcs_assets.ingest.heartbeat import kept_alive
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
    claim: DeletionClaim,
    ledger: Ledger,
    storage: Storage,
    schedule: RetrySchedule,
    *,
    tells_cdn: bool,
    heartbeat: timedelta,
) -> Iterator[DeletionEnded]:
    """Delete every image of the claim, and record in the ledger how that ended. The caller releases the run."""

    def begin(request_ids: Sequence[str]) -> set[str]:
        return ledger.claims.begin(claim.token, request_ids, now=datetime.now(UTC))

    beginnings = Beginnings(begin, [deletion.request_id for deletion in claim.deletions])
    with kept_alive(ledger, claim.token, heartbeat):
        for deletion in claim.deletions:
            yield _delete(claim, deletion, ledger, storage, schedule, beginnings=beginnings, tells_cdn=tells_cdn)


def _delete(
    claim: DeletionClaim,
    deletion: Deletion,
    ledger: Ledger,
    storage: Storage,
    schedule: RetrySchedule,
    *,
    beginnings: Beginnings,
    tells_cdn: bool,
) -> DeletionEnded:
    asset_id = deletion.asset_id
    error: IngestError | None = None
    deleted, left = 0, list[str]()
    checks = 0

    def check() -> None:
        nonlocal checks
        ledger.deletions.check(claim, deletion)
        checks += 1

    paths = _paths(deletion) if tells_cdn else ()
    try:
        beginnings.begin(deletion.request_id)
        try:
            deleted, left = delete_image_objects(storage, asset_id, ledger.reports.origins_among, check)
        except IngestError as raised:
            error = raised
        state = ledger.deletions.finish(
            claim, deletion, error, invalidate=paths, schedule=schedule, now=datetime.now(UTC)
        )
    except ClaimLostError:
        if checks:  # what was deleted since the last one may be what another run has stored
            ledger.claims.request_again(asset_id, now=datetime.now(UTC))
        return DeletionEnded(asset_id, None)
    return DeletionEnded(asset_id, state, deleted, tuple(left), () if error else paths, error)


def _paths(deletion: Deletion) -> tuple[str, ...]:
    """Return the paths to invalidate, if the deletion asks for that."""
    if "cdn" not in deletion.detail.get("delete_from", ()):
        return ()
    channels = [Channel(name) for name in deletion.detail.get("channels", ())]
    return paths_to_invalidate(deletion.asset_id, channels, deletion.detail.get("customer_name"))
