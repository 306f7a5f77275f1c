"""Whether ledger and S3 have drifted apart, by a sample that costs little whatever the number of images.

Up to ten listings of up to a thousand keys: of each bucket its customers, the spaces of one of them, a page from the
beginning of one of those spaces, and two pages that begin at registered images, all at random. What is listed is looked
up in the ledger; and what the ledger has in the same stretch of keys is looked for in the page.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from dlcs_assets.clients.listings import Page
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.storage_keys import TRANSIENT_PREFIX, read_storage_key, read_thumbnail_key
from dlcs_assets.ledger.comparison import Recorded
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.recovery.compare import Kind, places
from dlcs_assets.recovery.inventory import PAGE, batches

PAGES_FROM_LEDGER: Final = 2  # of each bucket


@dataclass
class Drift:
    """What the sample showed: the objects that were compared, in how many requests, and the addresses that disagree.

    Pages may overlap: an object counts once.
    """

    compared: set[tuple[str, str]] = field(default_factory=set)
    requests: int = 0
    found: dict[Kind, list[str]] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        """How many objects were compared."""
        return len(self.compared)

    def is_new(self, bucket: str, key: str) -> bool:
        """Note that an object is compared; return whether it was not before."""
        known = (bucket, key) in self.compared
        self.compared.add((bucket, key))
        return not known

    def add(self, kind: Kind, bucket: str, key: str) -> None:
        """Add an object about which ledger and S3 disagree."""
        self.found.setdefault(kind, []).append(S3Location(bucket, key).uri())


@dataclass(frozen=True)
class Sampler:
    """Takes the sample. Raises the errors of the error tree."""

    ledger: Ledger
    storage: Storage
    chance: random.Random = field(default_factory=random.SystemRandom)
    drift: Drift = field(default_factory=Drift)

    def take(self) -> Drift:
        """Compare a few pages of both buckets."""
        began = datetime.now(UTC)
        for bucket in dict.fromkeys((self.storage.storage_bucket, self.storage.thumbs_bucket)):
            if (start := self._some_space(bucket)) is not None:
                self._compare(bucket, start, self._page(bucket, start), [], began)
            for ids in self._some_images():
                start = ids[0][:-1]  # before its first key, and perhaps a few others
                self._compare(bucket, start, self._page(bucket, start), ids, began)
        return self.drift

    def _some_space(self, bucket: str) -> str | None:
        """Return the beginning of the keys of a space that the bucket has, whether the ledger knows it or not."""
        self.drift.requests += 1
        customers = [each for each in self.storage.list_folders(bucket, "") if each != TRANSIENT_PREFIX]
        if not customers:
            return None
        self.drift.requests += 1
        spaces = self.storage.list_folders(bucket, self.chance.choice(customers))
        return self.chance.choice(spaces) if spaces else None

    def _some_images(self) -> Iterator[list[str]]:
        count = self.ledger.comparison.count()
        for _ in range(PAGES_FROM_LEDGER if count else 0):
            if ids := self.ledger.comparison.sample(self.chance.randrange(count)):
                yield ids

    def _page(self, bucket: str, start: str) -> Page:
        self.drift.requests += 1
        return self.storage.list_page(bucket, "", after=start)

    def _compare(self, bucket: str, start: str, page: Page, ids: Sequence[str], began: datetime) -> None:
        read = read_storage_key if bucket == self.storage.storage_bucket else read_thumbnail_key
        sizes = {each.key: each.size for each in page.objects}
        read_keys = {key: own for key in sizes if (own := read(key)) and own.kind is not ObjectKind.TRANSIENT}
        owners = {key: str(own.asset_id) for key, own in read_keys.items()}
        recorded: dict[str, Recorded] = {}
        for some in batches(dict.fromkeys((*owners.values(), *ids)), PAGE):
            recorded |= self.ledger.comparison.recorded(some)
        at_rest = {image: each for image, each in recorded.items() if each.is_at_rest_since(began)}
        for key, image in owners.items():
            if image in at_rest and self.drift.is_new(bucket, key):
                self._look_up(at_rest[image], bucket, key, sizes[key])
        first, last = start.encode(), page.objects[-1].key.encode() if page.objects and not page.is_last else None
        for each in at_rest.values():
            for stored in each.objects:
                place = stored.key.encode()  # S3 sorts by bytes
                is_listed = stored.bucket == bucket and first < place and (last is None or place <= last)
                is_lost = is_listed and stored.key not in sizes and stored.kind is not ObjectKind.TRANSIENT
                if is_lost and self.drift.is_new(bucket, stored.key):
                    self.drift.add(Kind.MISSING, bucket, stored.key)

    def _look_up(self, recorded: Recorded, bucket: str, key: str, size: int) -> None:
        on_record = {(each.bucket, each.key): each.bytes for each in recorded.objects}
        if not recorded.is_registered and not on_record:
            self.drift.add(Kind.DELETED if recorded.is_deleted else Kind.UNKNOWN_IMAGE, bucket, key)
        elif (bucket, key) not in places(recorded):
            self.drift.add(Kind.UNRECORDED, bucket, key)
        elif on_record[bucket, key] != size:
            self.drift.add(Kind.DAMAGED, bucket, key)
