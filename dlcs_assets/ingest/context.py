"""What every stage of an image is given. Nothing fills it in later: what stages find out for each other are values."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.ingest_spec import IngestPolicy, IngestSpec
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.pictures.processes import PictureReader


@dataclass(frozen=True, slots=True)
class Services:
    """The outside systems that a stage may call, and what reads pictures for it."""

    origins: Origins
    storage: Storage
    appetiser: Appetiser
    image_server: ImageServer
    pictures: PictureReader


class ImageLedger(Protocol):
    """What the stages of an image ask of the ledger.

    Those that check or write raise `ClaimLostError` once another run has the image, or this one is ending; or the error
    with which the ledger refused an earlier commit, as `commit` does not wait.
    """

    def check_claim(self, *, at_this_moment: bool = False) -> None:
        """Check that this run holds the image, or did two seconds ago at most. To be called before every publish."""

    def is_taken_over(self) -> bool:
        """Return whether another run holds the request by now."""

    def origins_among(self, bucket: str, keys: Collection[str]) -> set[str]:
        """Return the keys that are some image's origin: they are not ours to delete."""

    def reserve(self, limit: int, new_bytes: int, replaces: Collection[ObjectKind], *, counted: int = 0) -> None:
        """Reserve bytes that take the place of what the image has of some kinds, within the customer's limit."""

    def commit(self, result: StageResult, invalidate: Sequence[str]) -> None:
        """Record a stage's result, and paths that a CDN is to forget because of it: by the end of the attempt."""

    def record_transient(self, record: ObjectRecord) -> None:
        """Record an object that is to be stored until thumbnails are made."""

    def forget_object(self, bucket: str, key: str) -> None:
        """Drop the record of an object that was deleted: by the end of the attempt."""


@dataclass(frozen=True, slots=True)
class ImageContext:
    """An image of a run, what it is worked on with, and the scratch folder that it has to itself.

    `is_unstored`: nothing was stored of it when the run began, and none but this run has stored anything since.
    """

    item: WorkItem
    run_id: str
    services: Services
    policy: IngestPolicy
    folder: Path
    ledger: ImageLedger
    is_unstored: bool = False

    def require_room(self, spec: IngestSpec, new_bytes: int, kinds: Collection[ObjectKind]) -> None:
        """Reserve bytes for objects of these kinds. Raises `PermanentError`, code `quota_exceeded`."""
        quota = spec.customer.quota
        if quota.bytes is not None and kinds:
            self.ledger.reserve(quota.bytes, new_bytes, kinds, counted=quota.counted_bytes)

    def check_before_publishing(self) -> None:
        """Check that this run holds the image; at this moment if it may be about to overwrite what is registered.

        What is new overwrites nothing. If the image was given to another run a moment ago, that one has not begun.
        """
        self.ledger.check_claim(at_this_moment=bool(self.item.objects))

    def check_before_deleting(self) -> None:
        """Check that this run holds the image at this moment: what is deleted may be what another run has stored."""
        self.ledger.check_claim(at_this_moment=True)

    @property
    def thumbnails_by_appetiser(self) -> bool:
        """Whether Appetiser makes the thumbnails, and not the image server."""
        return self.policy.thumbnails_by is ThumbnailMaker.APPETISER

    @property
    def thumbnails_from_files(self) -> bool:
        """Whether thumbnails are made from files of the scratch folder, and not from objects in S3."""
        return self.thumbnails_by_appetiser or self.services.image_server.shares_disk

    @property
    def log_fields(self) -> dict[str, str | int]:
        """The fields of a line in the log that is about this image."""
        return {"image": str(self.item.asset_id), "request": self.item.request_id, "run": self.run_id}


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def milliseconds(self) -> int:
        """Whole milliseconds that have passed."""
        return round((time.monotonic() - self._start) * 1000)
