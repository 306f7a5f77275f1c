"""Bucket scans: listings of buckets, page by page and tick by tick, for uploads without an event."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dlcs_assets.clients.listings import Listings, Page
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.customers import Customers
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.origin import OriginBucket
from dlcs_assets.domain.s3_event import S3Event, event_body
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.admission import admit
from dlcs_assets.intake.messages import deliver
from dlcs_assets.intake.uploads import read_event
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import InboxMessage
from dlcs_assets.settings import Settings

PER_TRANSACTION = 50
LONGEST_PAUSE = timedelta(minutes=1)  # before a bucket that could not be listed is listed again
EVENT_NAME = "ObjectCreated:Listed"


@dataclass
class ScanPosition:
    """How far the scan of one bucket is: after which key it continues, and not before when.

    `problem` is why the bucket could not be listed last time. The names of the fields are in the sensor's cursor.
    """

    bucket: str
    place: OriginBucket
    after: str | None = None
    due_at: datetime | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, for the sensor's cursor."""
        return {**asdict(self), "due_at": self.due_at.isoformat() if self.due_at else None}

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> ScanPosition:
        """Read what `to_json` returned."""
        due_at = datetime.fromisoformat(value["due_at"]) if value["due_at"] else None
        return cls(value["bucket"], OriginBucket(**value["place"]), value["after"], due_at, value["problem"])


class BucketScan:
    """Scans of all buckets, again and again. The state is in the cursor: a tick begins where the last one ended."""

    def __init__(self, listings: Listings, queues: Queues, ledger: Ledger, settings: Settings) -> None:
        self._listings = listings
        self._queues = queues
        self._ledger = ledger
        self._settings = settings
        self._customers = customer_source(settings).customers()
        self._listed = 0
        self._counts: Counter[str] = Counter()
        self._notes: list[str] = []

    def tick(self, cursor: str | None) -> str:
        """List pages until nothing is due or the time budget is spent, a page at least; return the new cursor.

        Buckets alternate.
        """
        positions = self._positions(cursor)
        began, deadline = datetime.now(UTC), time.monotonic() + self._settings.sweep_budget.total_seconds()
        while due := [each for each in positions if each.due_at is None or each.due_at <= began]:
            position = due[0]
            positions.remove(position)
            positions.append(position)
            self._scan_page(position, deadline)
            if time.monotonic() >= deadline:
                break
        self._notes += [f"{each.bucket} can't be listed: {each.problem}" for each in positions if each.problem]
        dates = [each.due_at for each in positions]
        if (first := min((date for date in dates if date), default=None)) and all(dates):
            self._notes.append(f"The next round begins at {first:%H:%M:%S} UTC")
        return json.dumps([each.to_json() for each in positions])

    @property
    def accepted(self) -> int:
        """How many images the tick has requested."""
        return self._counts["accepted"]

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {name}" for name, number in self._counts.items() if number)
        return ". ".join([f"{self._listed} objects listed" + (f" ({counts})" if counts else ""), *self._notes])

    def _positions(self, cursor: str | None) -> list[ScanPosition]:
        """Continue the scans that are begun, where their buckets are still to be scanned; new ones come first."""
        wanted = []
        for bucket in self._settings.swept_buckets:
            places = places_of(bucket, self._customers, self._settings)
            wanted += [(bucket, place) for place in places]
            if not places:
                self._notes.append(
                    f"{bucket} is not swept: it is neither DLCS_ORIGIN_BUCKET nor listed under buckets of a customer"
                )
        begun = [ScanPosition.of_json(each) for each in json.loads(cursor)] if cursor else []
        known = [(each.bucket, each.place) for each in begun]
        new = [ScanPosition(*each) for each in wanted if each not in known]
        return new + [each for each in begun if (each.bucket, each.place) in wanted]

    def _scan_page(self, position: ScanPosition, deadline: float) -> None:
        listed_at = datetime.now(UTC)
        interval = self._settings.sweep_interval
        try:
            page = self._listings.page(position.bucket, position.place, after=position.after)
        except IngestError as error:
            position.problem, position.due_at = (
                f"{error.cause}. {error.remedy}",
                listed_at + min(interval, LONGEST_PAUSE),
            )
            return
        position.problem = position.due_at = None
        self._listed += len(page.objects)
        unknown = self._ledger.uploads.unknown(position.bucket, self._entries(position, page, listed_at))
        for start in range(0, len(unknown), PER_TRANSACTION):
            if start and time.monotonic() >= deadline and (last := unknown[start - 1].upload):
                position.after = last.key
                return
            part = unknown[start : start + PER_TRANSACTION]
            delivered = deliver(part, self._queues, self._ledger, self._settings)
            self._counts.update(asdict(delivered.count))
            if delivered.problem:  # the ledger does not have them: the next round finds them again
                self._notes.append(f"{len(delivered.waiting)} wait: {delivered.problem}")
        position.after = page.objects[-1].key if page.objects else None
        if page.is_last:
            position.after, position.due_at = None, listed_at + interval

    def _entries(self, position: ScanPosition, page: Page, listed_at: datetime) -> list[InboxMessage]:
        url = self._settings.uploads_queue_url or self._settings.ingest_queue_url or "none"
        entries = []
        for found in page.objects:
            event = S3Event(position.bucket, found.key, EVENT_NAME, found.size, found.etag, time=found.modified)
            entry = InboxMessage("", url.rsplit("/", 1)[-1], Lane.INGEST, event_body(event))
            entry = read_event(event, entry, listed_at=listed_at)
            if entry.upload and self._is_here(entry, position):
                entries.append(admit(entry, self._settings))
        return entries

    def _is_here(self, entry: InboxMessage, position: ScanPosition) -> bool:
        """Return whether the customer's images are fetched from this very bucket: others may have one of that name."""
        customer = entry.message and self._customers.find(entry.message.asset_id.customer)
        return not customer or customer.buckets.get(position.bucket, position.place) == position.place


def places_of(bucket: str, customers: Customers, settings: Settings) -> list[OriginBucket]:
    """Return where a bucket is, by all customers that list it; empty if it is not one to be read from."""
    if bucket == settings.origin_bucket:
        return [OriginBucket()]
    everyone = [*customers.by_number.values(), *([customers.others] if customers.others else [])]
    return list(dict.fromkeys(each.buckets[bucket] for each in everyone if bucket in each.buckets))
