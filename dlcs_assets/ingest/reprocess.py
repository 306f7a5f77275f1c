"""Which images are to be made again, from which stage on, and what that costs: the same for people and for jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.stages import STAGES, Lane, RequestState, Stage
from dlcs_assets.ingest.policy import IngestPolicy
from dlcs_assets.ingest.staleness import channels_of, stale_stages
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.registrations import Entry

USUAL_MILLISECONDS = {Stage.ORIGINAL: 500, Stage.JP2: 2000, Stage.THUMBNAILS: 800}  # where nothing is recorded


@dataclass(frozen=True, slots=True)
class ReprocessSelector:
    """What a person wants made again. All that is given holds.

    `from_stage` and all after it are done (None: all stages), and whatever an image lacks before it. `match` is a glob
    over the asset's own name. `code` is that of the failure in which an image's newest request ended. With `outdated`
    only what would come out otherwise today is done, image by image, `from_stage` or later.
    """

    customer: int | None = None
    space: int | None = None
    from_stage: Stage | None = None
    policy: str | None = None
    match: str | None = None
    code: str | None = None
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class ReprocessItem:
    """An image to be made again. `bytes` are those to be read, `milliseconds` those of work, as recorded last time."""

    asset_id: AssetId
    stages: frozenset[Stage]
    reasons: tuple[str, ...]
    bytes: int
    milliseconds: int


@dataclass(slots=True)
class ReprocessEstimate:
    """What a wish comes to. `skipped` counts images that can't be ingested as they are registered, by reason."""

    images: int = 0
    bytes: int = 0
    milliseconds: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_stage: Counter[Stage] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, wanted: ReprocessItem) -> None:
        """Add an image."""
        self.images += 1
        self.bytes += wanted.bytes
        self.milliseconds += wanted.milliseconds
        self.by_reason.update(wanted.reasons)
        self.by_stage.update(wanted.stages)

    def duration(self, at_a_time: int) -> timedelta:
        """Guess how long it takes with so many images at a time."""
        return timedelta(milliseconds=self.milliseconds / max(at_a_time, 1))


def select_images(
    ledger: Ledger, wish: ReprocessSelector, rules: IngestPolicy, total: ReprocessEstimate
) -> Iterator[ReprocessItem]:
    """Yield what the wish means today, counting into `total` as it goes."""
    for entry in ledger.registrations.entries(customer=wish.customer, space=wish.space):
        if not _matches(entry, wish):
            continue
        try:
            wanted = _wanted(entry, wish, rules)
        except IngestError as error:
            total.skipped[error.code] += 1
            continue
        if wanted is not None:
            total.add(wanted)
            yield wanted


def ask_for(ledger: Ledger, wanted: Iterable[ReprocessItem], *, now: datetime) -> None:
    """Write requests in the backfill lane for all of these images."""
    everything = [(each.asset_id, each.stages) for each in wanted]
    ledger.registrations.request(everything, lane=Lane.BACKFILL, now=now)


def told(total: ReprocessEstimate, at_a_time: int, *, dry_run: bool) -> list[str]:
    """Return what a wish comes to, in sentences. `at_a_time` is how many images are worked on side by side."""
    if not total.images:
        lines = ["No image is meant by this: nothing to do."]
    else:
        done = "would be made again" if dry_run else "are asked for again, in the backfill lane"
        stages = ", ".join(f"{total.by_stage[stage]} {stage}" for stage in STAGES if total.by_stage[stage])
        minutes = total.duration(at_a_time).total_seconds() / 60
        about = "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
        lines = [
            f"{total.images} image{'' if total.images == 1 else 's'} {done}: {stages}.",
            f"{total.bytes} bytes to read, {about} with {at_a_time} images at a time (by what they took last time).",
        ]
    skipped = [f"{count} left out, which can't be ingested today: {code}" for code, count in total.skipped.items()]
    return lines + skipped


def _matches(entry: Entry, wish: ReprocessSelector) -> bool:
    if wish.match is not None and not fnmatchcase(entry.asset_id.asset, wish.match):
        return False
    return wish.code is None or (entry.state is RequestState.FAILED and entry.error_code == wish.code)


def _wanted(entry: Entry, wish: ReprocessSelector, rules: IngestPolicy) -> ReprocessItem | None:
    if wish.policy is not None:
        channels = channels_of(entry.asset_id, entry.registration, entry.results, rules)
        if wish.policy not in {channel.policy for channel in channels}:
            return None
    outdated = stale_stages(entry.asset_id, entry.registration, entry.results, rules)
    first = STAGES.index(wish.from_stage) if wish.from_stage else 0
    if wish.outdated:
        # What was never made is not outdated: it waits for its first ingest, or failed in it.
        stages = {stage for stage in outdated if stage in entry.results and STAGES.index(stage) >= first}
        if not stages:
            return None
    else:
        stages = {*STAGES[first:], *(stage for stage in STAGES if stage not in entry.results)}
    reasons = dict.fromkeys(reason for stage in STAGES if stage in stages for reason in outdated.get(stage, ()))
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
