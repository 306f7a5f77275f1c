"""Reprocessing: which images, from which stage on, and what that costs. The same for the command line and for jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.backfill import Backfill, Words
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.ingest_spec import IngestPolicy, KnownFormat, ingest_spec
from dlcs_assets.domain.recipe import compare_recipes
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger.backfills import PAGE
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.registrations import Entry

_WITH_REASON: Final = (RequestState.FAILED, RequestState.NOT_RENEWED)
USUAL_MILLISECONDS = {Stage.ORIGINAL: 500, Stage.JP2: 2000, Stage.THUMBNAILS: 800}  # where nothing is recorded


@dataclass(frozen=True, slots=True)
class ReprocessSelector:
    """Which images to reprocess. All criteria that are given must hold.

    `from_stage` and all after it are done (None: all stages), and whatever an image lacks before it. `match` is a glob
    over the asset's own name. `code` is that of the failure in which an image's newest request ended. With `stale` only
    stale stages are done, image by image, `from_stage` or later.
    """

    customer: int | None = None
    space: int | None = None
    from_stage: Stage | None = None
    policy: str | None = None
    match: str | None = None
    code: str | None = None
    stale: bool = False

    @property
    def words(self) -> Words:
        """The selection in the words of commands and jobs; without a customer it is of every customer."""
        given: dict[str, str | int | bool | None] = {
            "customer": self.customer,
            "every_customer": self.customer is None,
            "space": self.space,
            "stage": self.from_stage.value if self.from_stage else None,
            "policy": self.policy,
            "match": self.match,
            "reason": self.code,
            "stale": self.stale,
        }
        return {word: value for word, value in given.items() if value is not None and value is not False}

    @classmethod
    def of_words(cls, words: Words) -> ReprocessSelector:
        """Return the selection of which these are the words."""
        values: dict[str, Any] = {**words}
        stage = values.get("stage")
        return cls(
            values.get("customer"),
            values.get("space"),
            Stage(stage) if stage else None,
            values.get("policy"),
            values.get("match"),
            values.get("reason"),
            values.get("stale", False),
        )


@dataclass(frozen=True, slots=True)
class ReprocessItem:
    """An image to reprocess. `bytes` are to be read, `milliseconds` is the work: both as recorded last time."""

    asset_id: AssetId
    stages: frozenset[Stage]
    reasons: tuple[str, ...]
    bytes: int
    milliseconds: int


@dataclass(slots=True)
class ReprocessEstimate:
    """What a selection comes to. `skipped` counts images that can't be ingested as they are registered, by reason."""

    images: int = 0
    bytes: int = 0
    milliseconds: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_stage: Counter[Stage] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, item: ReprocessItem) -> None:
        """Add an image."""
        self.images += 1
        self.bytes += item.bytes
        self.milliseconds += item.milliseconds
        self.by_reason.update(item.reasons)
        self.by_stage.update(item.stages)

    def duration(self, images_at_a_time: int) -> timedelta:
        """Estimate how long it takes."""
        return timedelta(milliseconds=self.milliseconds / max(images_at_a_time, 1))


def select_images(
    ledger: Ledger, selector: ReprocessSelector, policy: IngestPolicy, estimate: ReprocessEstimate
) -> Iterator[ReprocessItem]:
    """Yield the images that are selected, adding each to `estimate`."""
    for entry in ledger.registrations.entries(customer=selector.customer, space=selector.space):
        if not _matches(entry, selector):
            continue
        try:
            item = _item(entry, selector, policy)
        except (IngestError, MessageRejectedError) as error:
            estimate.skipped[error.code] += 1
            continue
        if item is not None:
            estimate.add(item)
            yield item


def request_reprocessing(
    ledger: Ledger, selector: ReprocessSelector, items: Iterable[ReprocessItem], *, asked_by: str
) -> int | None:
    """Write requests for these images, which were selected so, as a backfill; return its number, None without images.

    Raises `BackfillCancelledError` if it is cancelled meanwhile.
    """
    backfill: int | None = None
    for page in _pages(items):
        if backfill is None:
            backfill = ledger.backfills.begin(selector.words, asked_by=asked_by, now=datetime.now(UTC))
        _request(ledger, backfill, page)
    if backfill is not None:
        ledger.backfills.all_requested(backfill, now=datetime.now(UTC))
    return backfill


def resume_backfill(ledger: Ledger, backfill: Backfill, policy: IngestPolicy) -> int:
    """Request again what of a backfill was withdrawn or failed, and what it had not come to; return how many images.

    Raises `BackfillCancelledError` if it is cancelled meanwhile.
    """
    asked = ledger.backfills.resume(backfill.id, now=datetime.now(UTC))
    if backfill.requested_at is None:
        items = select_images(ledger, ReprocessSelector.of_words(backfill.words), policy, ReprocessEstimate())
        asked += sum(_request(ledger, backfill.id, page) for page in _pages(items))
        ledger.backfills.all_requested(backfill.id, now=datetime.now(UTC))
    return asked


def _pages(items: Iterable[ReprocessItem]) -> Iterator[Sequence[ReprocessItem]]:
    remaining = iter(items)
    while page := list(islice(remaining, PAGE)):
        yield page


def _request(ledger: Ledger, backfill: int, items: Sequence[ReprocessItem]) -> int:
    wanted = [(item.asset_id, item.stages) for item in items]
    return ledger.backfills.request(backfill, wanted, now=datetime.now(UTC))


def describe(estimate: ReprocessEstimate, images_at_a_time: int, *, backfill: int | None = None) -> list[str]:
    """Return what a selection comes to, in sentences: that of a backfill, or one that is only tried."""
    if not estimate.images:
        lines = ["No images match: nothing to do."]
    else:
        done = "would be reprocessed" if backfill is None else f"will be reprocessed, as backfill {backfill}"
        stages = ", ".join(f"{estimate.by_stage[stage]} {stage}" for stage in STAGES if estimate.by_stage[stage])
        minutes = estimate.duration(images_at_a_time).total_seconds() / 60
        about = "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
        lines = [
            f"{estimate.images} image{'' if estimate.images == 1 else 's'} {done}: {stages}.",
            f"{estimate.bytes} bytes to read, {about} with {images_at_a_time} images at a time (as it took last time).",
        ]
    lines += [f"{count} skipped, which can't be ingested today: {code}" for code, count in estimate.skipped.items()]
    if backfill is not None:
        lines.append(f"How far it is: dlcs backfills show {backfill}. To stop it: dlcs backfills cancel {backfill}")
    return lines


def _matches(entry: Entry, selector: ReprocessSelector) -> bool:
    if selector.match is not None and not fnmatchcase(entry.asset_id.asset, selector.match):
        return False
    return selector.code is None or (entry.state in _WITH_REASON and entry.error_code == selector.code)


def _item(entry: Entry, selector: ReprocessSelector, policy: IngestPolicy) -> ReprocessItem | None:
    spec = ingest_spec(entry.asset_id, entry.registration, policy, KnownFormat.recorded(entry.results))
    if selector.policy is not None and selector.policy not in {channel.policy for channel in spec.channels}:
        return None
    stale = compare_recipes({stage: result.recipe for stage, result in entry.results.items()}, spec.recipes())
    first = STAGES.index(selector.from_stage) if selector.from_stage else 0
    if selector.stale:
        # What was never made is not stale: it waits for its first ingest, or failed in it.
        stages = {stage for stage in stale if stage in entry.results and STAGES.index(stage) >= first}
        if not stages:
            return None
    else:
        stages = {*STAGES[first:], *(stage for stage in STAGES if stage not in entry.results)}
    reasons = dict.fromkeys(reason for stage in STAGES if stage in stages for reason in stale.get(stage, ()))
    milliseconds = sum(_milliseconds(entry, stage) for stage in stages)
    return ReprocessItem(entry.asset_id, frozenset(stages), tuple(reasons), _bytes(entry, stages), milliseconds)


def _bytes(entry: Entry, stages: Collection[Stage]) -> int:
    """Return the bytes to be read: the original's, or for thumbnails alone those of what they are made of."""
    original, jp2 = entry.results.get(Stage.ORIGINAL), entry.results.get(Stage.JP2)
    source = jp2 if set(stages) == {Stage.THUMBNAILS} and jp2 and jp2.facts.get("bytes") else original
    return int((source.facts.get("bytes") if source else None) or 0)


def _milliseconds(entry: Entry, stage: Stage) -> int:
    result = entry.results.get(stage)
    return int((result.facts.get("milliseconds") if result else None) or USUAL_MILLISECONDS[stage])
