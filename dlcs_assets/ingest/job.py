"""One image on its way: what its stages share, from the plan to the scratch folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dlcs_assets.clients.appetiser import Appetiser
from dlcs_assets.clients.image_server import ImageServer
from dlcs_assets.clients.origins import Origins, Peeked
from dlcs_assets.clients.storage import Storage
from dlcs_assets.clients.transfer import Fetched
from dlcs_assets.domain.customers import Customer
from dlcs_assets.domain.delivery import Channel, DeliveryChannel, resolve_channels, thumbnail_sizes
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_plan import IngestPlan, plan_ingest
from dlcs_assets.domain.media_type import SourceFormat, sniff
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.recipe import IngestSpec, Recipe
from dlcs_assets.domain.results import ObjectKind, StageResult, WorkItem
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ingest.image_probe import ImageInfo
from dlcs_assets.ingest.jp2_structure import Jp2Structure
from dlcs_assets.ingest.policy import IngestPolicy


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

    customer: Customer = field(init=False)
    origin: Origin = field(init=False)
    channels: tuple[DeliveryChannel, ...] = field(init=False)
    plan: IngestPlan = field(init=False)
    peeked: Peeked | None = None
    fetched: Fetched | None = None
    format: SourceFormat | None = None
    picture: ImageInfo | None = None
    jp2: Path | None = None
    structure: Jp2Structure | None = None
    results: dict[Stage, StageResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the plan, as far as it can be made before anything is fetched."""
        registration = self.item.registration
        self.customer = self.rules.customers().get(self.item.asset_id.customer)
        self.origin = self.customer.origin(
            registration.origin,
            portal_bucket=self.rules.origin_bucket,
            own_buckets=self.rules.own_buckets,
        )
        media_type = registration.media_type
        if media_type is None and self._needs_media_type():
            media_type = self._found_before() or self._look()
        try:
            self.channels = resolve_channels(
                registration.channels, media_type, self.customer.policies, space=self.item.asset_id.space
            )
        except MessageRejectedError as error:
            raise PermanentError(error.code, error.cause, remedy=error.remedy, stage=Stage.ORIGINAL) from error
        self.replan()

    def _needs_media_type(self) -> bool:
        channels = self.item.registration.channels
        # The policy of the other channels is the same whatever the media type: no origin is asked for their sake.
        typed = {Channel.IIIF_IMG, Channel.THUMBS}
        return channels is None or any(item.policy is None and item.channel in typed for item in channels)

    def replan(self) -> None:
        """Make the plan with what is known of the format by now."""
        is_jp2 = self.format.is_jp2 if self.format else self._was_jp2()
        self.plan = plan_ingest(self.channels, optimised=self.origin.optimised, is_jp2=is_jp2)

    def _found_before(self) -> str | None:
        """Return the original's media type as an earlier request found it, if this one does not get it anew."""
        return None if Stage.ORIGINAL in self.item.stages else self._recorded_media_type()

    def _look(self) -> str | None:
        self.peek()
        return self.format.media_type if self.format else (self.peeked and self.peeked.content_type) or None

    def _was_jp2(self) -> bool | None:
        media_type = self._recorded_media_type()
        return None if media_type is None else media_type == "image/jp2"

    def _recorded_media_type(self) -> str | None:
        original = self.result(Stage.ORIGINAL)
        media_type = original.facts.get("media_type") if original else None
        return None if media_type is None else str(media_type)

    def result(self, stage: Stage) -> StageResult | None:
        """Return the stage's result in this run, else under any earlier request."""
        return self.results.get(stage) or self.item.latest.get(stage)

    def peek(self) -> Peeked:
        """Look at the origin's first bytes, which is no fetch."""
        if self.peeked is None:
            self.peeked = self.services.origins.peek(self.origin)
            self.format = sniff(self.peeked.head)
        return self.peeked

    @property
    def recipes(self) -> Mapping[Stage, Recipe]:
        """What decides about each stage's result, as far as it is known by now."""
        rules = self.rules
        making = IngestSpec(self.item.registration, self.plan, self.sizes, rules.profile, rules.engine_open_thumbnails)
        return making.recipes()

    def require_room(self, new: int, kinds: Collection[ObjectKind]) -> None:
        """Reserve bytes for objects of these kinds. Raises `PermanentError`, code `quota_exceeded`."""
        limit = self.customer.quota.bytes
        if limit is not None and kinds:
            self.reserve(limit, new, kinds)

    @property
    def sizes(self) -> tuple[str, ...]:
        """The size parameters that this image is to have thumbnails of, those that don't apply to it included."""
        return thumbnail_sizes(self.channels, self.customer.policies, self.rules.default_thumbnail_sizes)

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
