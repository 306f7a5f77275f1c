"""One image on its way: what its stages share, from the plan to the scratch folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.origins import Origins, Peeked
from dlcs_assets.clients.storage import Storage
from dlcs_assets.clients.transfer import Fetched
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_plan import IngestPlan
from dlcs_assets.domain.ingest_spec import (
    IngestPolicy,
    IngestSpec,
    KnownFormat,
    ingest_spec,
    needs_media_type,
    origin_of,
)
from dlcs_assets.domain.media_type import SourceFormat, sniff
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.results import ObjectKind, StageResult, WorkItem
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ingest.image_probe import ImageInfo
from dlcs_assets.ingest.jp2_structure import Jp2Structure


@dataclass(frozen=True, slots=True)
class Services:
    """The outside systems that a stage may call."""

    origins: Origins
    storage: Storage
    appetiser: Appetiser
    image_server: ImageServer


@dataclass(slots=True)
class Job:
    """One image in work. The stages fill in what they found out, for those after them."""

    item: WorkItem
    services: Services
    rules: IngestPolicy
    folder: Path
    guard: Callable[[], None]
    # Given a bucket and keys, returns those that are some image's origin: they are not ours to delete.
    origins_among: Callable[[str, Collection[str]], set[str]]
    # Given the customer's limit and how many bytes will take the place of what there is of some kinds, reserves them.
    reserve: Callable[[int, int, Collection[ObjectKind]], None]

    spec: IngestSpec = field(init=False)
    peeked: Peeked | None = None
    fetched: Fetched | None = None
    format: SourceFormat | None = None
    picture: ImageInfo | None = None
    jp2: Path | None = None
    structure: Jp2Structure | None = None
    results: dict[Stage, StageResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the plan, as far as it can be made before anything is fetched."""
        item = self.item
        known = KnownFormat.recorded(item.latest)
        if needs_media_type(item.registration) and (Stage.ORIGINAL in item.stages or known.media_type is None):
            peeked = self.peek()
            known = KnownFormat.seen(self.format, peeked.content_type)
        try:
            self.spec = ingest_spec(item.asset_id, item.registration, self.rules, known)
        except MessageRejectedError as error:
            raise PermanentError(error.code, error.cause, remedy=error.remedy, stage=Stage.ORIGINAL) from error

    def replan(self) -> None:
        """Make the plan with what is known of the format by now."""
        self.spec = self.spec.with_format(self.format)

    @property
    def plan(self) -> IngestPlan:
        """What is made of it."""
        return self.spec.plan

    @property
    def origin(self) -> Origin:
        """Where the original is."""
        return self.spec.origin

    def result(self, stage: Stage) -> StageResult | None:
        """Return the stage's result in this run, else under any earlier request."""
        return self.results.get(stage) or self.item.latest.get(stage)

    def peek(self) -> Peeked:
        """Look at the origin's first bytes, which is no fetch."""
        if self.peeked is None:
            self.peeked = self.services.origins.peek(origin_of(self.item.asset_id, self.item.registration, self.rules))
            self.format = sniff(self.peeked.head)
        return self.peeked

    def require_room(self, new: int, kinds: Collection[ObjectKind]) -> None:
        """Reserve bytes for objects of these kinds. Raises `PermanentError`, code `quota_exceeded`."""
        limit = self.spec.customer.quota.bytes
        if limit is not None and kinds:
            self.reserve(limit, new, kinds)

    @property
    def by_appetiser(self) -> bool:
        """Whether Appetiser makes the thumbnails, and not the image server."""
        return self.rules.thumbnails_by is ThumbnailMaker.APPETISER

    @property
    def made_from_files(self) -> bool:
        """Whether thumbnails are made from files of the scratch folder, and not from objects in S3."""
        return self.by_appetiser or self.services.image_server.shares_disk

    @property
    def known_size(self) -> Size | None:
        """The picture's size as an earlier stage, in this run or another, measured it."""
        for stage in (Stage.JP2, Stage.ORIGINAL):
            result = self.result(stage)
            if result and result.facts.get("width"):
                return Size(result.facts["width"], result.facts["height"])
        return None


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def milliseconds(self) -> int:
        """Whole milliseconds that have passed."""
        return round((time.monotonic() - self._start) * 1000)
