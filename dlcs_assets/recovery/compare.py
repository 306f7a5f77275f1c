"""Where ledger and S3 disagree about what is stored, image by image. Nothing is changed here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.storage_keys import sizes_key, thumbnail_key
from dlcs_assets.domain.thumbnails import ThumbnailSet, read_sizes_json
from dlcs_assets.ledger.comparison import Recorded
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.recovery.inventory import Inventory, Scope, StoredKey


class Kind(StrEnum):
    """How ledger and S3 disagree about an object."""

    MISSING = "missing"
    GONE = "gone"
    DAMAGED = "damaged"
    CHANGED = "changed"
    UNRECORDED = "unrecorded"
    UNKNOWN_IMAGE = "unknown-image"
    SIZES = "sizes"
    LEFTOVER = "leftover"
    DELETED = "deleted"
    TRANSIENT = "transient"


MEANINGS: Final[Mapping[Kind, str]] = {
    Kind.MISSING: "on record, and not in S3",
    Kind.GONE: "of an image on record of which S3 has nothing: deleted since, or lost",
    Kind.DAMAGED: "in S3 with another size or checksum than this system stored",
    Kind.CHANGED: "in S3 as this system stored it, but not as it is on record: the ledger is older",
    Kind.UNRECORDED: "part of an image that is known, and not on record",
    Kind.UNKNOWN_IMAGE: "of an image that the ledger does not know",
    Kind.SIZES: "an s.json that does not say which thumbnails there are",
    Kind.LEFTOVER: "of an image that is known, and no part of what it has today",
    Kind.DELETED: "of an image that was deleted",
    Kind.TRANSIENT: "stored for the time of an ingest that has ended",
}
# What no longer has an object of its kind in storage: one that is there was left.
_NONE_STORED: Final = {
    ObjectKind.JP2: (Stage.JP2, {Outcome.NOT_REQUIRED}),
    ObjectKind.ORIGINAL: (
        Stage.ORIGINAL,
        {Outcome.NOT_REQUIRED, Outcome.FETCHED, Outcome.AT_ORIGIN, Outcome.KEPT_FOR_THUMBNAILS},
    ),
    ObjectKind.THUMBNAIL: (Stage.THUMBNAILS, {Outcome.NOT_REQUIRED}),
    ObjectKind.SIZES: (Stage.THUMBNAILS, {Outcome.NOT_REQUIRED}),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One object about which ledger and S3 disagree. `detail` says how, for people."""

    kind: Kind
    asset_id: AssetId
    bucket: str
    key: str
    detail: str = ""

    @property
    def uri(self) -> str:
        """Where it is, or should be."""
        return S3Location(self.bucket, self.key).uri()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: a line of `dlcs ledger compare --json`."""
        return {
            "kind": self.kind.value,
            "customer": self.asset_id.customer,
            "space": self.asset_id.space,
            "image": str(self.asset_id),
            "bucket": self.bucket,
            "key": self.key,
            "detail": self.detail,
        }


@dataclass
class Compared:
    """What was compared, by (customer, space). `busy` are images that were skipped: they are being worked on."""

    images: Counter[tuple[int, int]] = field(default_factory=Counter)
    objects: Counter[tuple[int, int]] = field(default_factory=Counter)
    findings: Counter[tuple[int, int, Kind]] = field(default_factory=Counter)
    busy: int = 0

    def add(self, image: AssetId, objects: int, findings: Sequence[Finding]) -> None:
        """Add an image."""
        place = (image.customer, image.space)
        self.images[place] += 1
        self.objects[place] += objects
        self.findings.update((*place, each.kind) for each in findings)


@dataclass(frozen=True)
class ImageCompared:
    """An image about which ledger and S3 disagree: what each of them has, and the findings."""

    recorded: Recorded
    stored: tuple[StoredKey, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Comparer:
    """Compares a listing with the ledger. With `checksums` each object is asked for the one it was put with."""

    ledger: Ledger
    storage: Storage
    checksums: bool = False
    compared: Compared = field(default_factory=Compared)

    def run(self, inventory: Inventory, scope: Scope) -> Iterator[ImageCompared]:
        """Yield the images about which ledger and S3 disagree. Raises the errors of the error tree."""
        with ThreadPoolExecutor(self.storage.in_flight) as threads:
            for ids in self._recorded_ids(scope):
                yield from self._page(ids, inventory.of(ids), inventory, threads)
            for page in inventory.pages():
                recorded = self.ledger.comparison.recorded(list(page))
                rest = [image for image, each in recorded.items() if not each.is_registered and not each.objects]
                yield from self._page(rest, page, inventory, threads)

    def _recorded_ids(self, scope: Scope) -> Iterator[Sequence[str]]:
        if scope.ids:
            recorded = self.ledger.comparison.recorded(scope.ids)
            yield [image for image, each in recorded.items() if each.is_registered or each.objects]
            return
        yield from self.ledger.comparison.image_ids(customer=scope.customer, space=scope.space)

    def _page(
        self,
        ids: Sequence[str],
        stored: Mapping[str, list[StoredKey]],
        inventory: Inventory,
        threads: ThreadPoolExecutor,
    ) -> Iterator[ImageCompared]:
        recorded = self.ledger.comparison.recorded(ids)
        at_rest = [image for image in ids if recorded[image].is_at_rest_since(inventory.began)]
        self.compared.busy += len(ids) - len(at_rest)
        found = threads.map(lambda image: self.image(recorded[image], stored.get(image, [])), at_rest)
        for image, findings in zip(at_rest, found, strict=True):
            keys = stored.get(image, [])
            number = len({(each.bucket, each.key) for each in keys} | places(recorded[image]))
            self.compared.add(recorded[image].asset_id, number, findings)
            if findings:
                yield ImageCompared(recorded[image], tuple(keys), tuple(findings))

    def image(self, recorded: Recorded, stored: Sequence[StoredKey]) -> list[Finding]:
        """Return where ledger and S3 disagree about one image that is at rest."""
        return list(self._findings(recorded, {(each.bucket, each.key): each for each in stored}))

    def _findings(self, recorded: Recorded, stored: Mapping[tuple[str, str], StoredKey]) -> Iterator[Finding]:
        lasting = {place: each for place, each in stored.items() if each.kind is not ObjectKind.TRANSIENT}
        for each in stored.values():
            if each.kind is ObjectKind.TRANSIENT and each.own.request_id not in recorded.requests:
                yield Finding(Kind.TRANSIENT, recorded.asset_id, each.bucket, each.key, "its request has ended")
        if not recorded.is_registered and not recorded.objects:
            kind = Kind.DELETED if recorded.is_deleted else Kind.UNKNOWN_IMAGE
            for each in lasting.values():
                yield Finding(kind, recorded.asset_id, each.bucket, each.key, f"{each.bytes} bytes")
            return
        sizes = self._sizes(recorded, lasting)
        differing = self._of_records(recorded, stored)
        if isinstance(sizes, Finding):  # which says more about it than its size
            yield sizes
            differing = (each for each in differing if each.key != sizes.key)
        yield from differing
        named = sizes if isinstance(sizes, ThumbnailSet) else None
        on_record = places(recorded)
        yield from (_not_on_record(recorded, each, named) for place, each in lasting.items() if place not in on_record)

    def _of_records(self, recorded: Recorded, stored: Mapping[tuple[str, str], StoredKey]) -> Iterator[Finding]:
        absent = Kind.MISSING if places(recorded) & stored.keys() else Kind.GONE
        for record in recorded.objects:
            place = (record.bucket, record.key)
            if record.kind is ObjectKind.TRANSIENT:
                continue  # `reconcile` deletes it
            if place not in stored:
                yield Finding(absent, recorded.asset_id, *place, f"{record.bytes} bytes")
            elif finding := self._differs(recorded.asset_id, record, stored[place]):
                yield finding

    def _differs(self, asset_id: AssetId, record: ObjectRecord, stored: StoredKey) -> Finding | None:
        """Return how an object differs from what is on record, or None if it does not as far as was asked."""
        if stored.bytes == record.bytes and not self.checksums:
            return None
        head = self.storage.head(record.bucket, record.key)
        if head is None:
            return Finding(Kind.MISSING, asset_id, record.bucket, record.key, f"{record.bytes} bytes")
        is_ours = head.sha256 is not None
        if is_ours and head.sha256 != record.sha256:
            detail = f"{head.bytes} bytes, put with SHA-256 {head.sha256}; on record are {record.bytes} bytes"
            return Finding(Kind.CHANGED, asset_id, record.bucket, record.key, detail)
        if head.bytes != record.bytes:
            detail = f"{head.bytes} bytes instead of {record.bytes}"
            return Finding(Kind.DAMAGED, asset_id, record.bucket, record.key, detail)
        return None

    def _sizes(self, recorded: Recorded, lasting: Mapping[tuple[str, str], StoredKey]) -> ThumbnailSet | Finding | None:
        """Return what `s.json` says, or what is wrong with it; None if there is none, or it need not be read."""
        stored = next((each for each in lasting.values() if each.kind is ObjectKind.SIZES), None)
        if stored is None:
            return None
        expected = _recorded_sizes(recorded)
        # A small object's ETag is the MD5 of its bytes, unless it is encrypted by a key of one's own.
        if expected and hashlib.md5(expected.sizes_json().encode(), usedforsecurity=False).hexdigest() == stored.etag:
            said: ThumbnailSet | None = expected
        else:
            try:
                said = read_sizes_json(self.storage.read_bytes(stored.bucket, stored.key).decode())
            except ValueError:
                said = None
        where = (recorded.asset_id, stored.bucket, sizes_key(recorded.asset_id))
        if said is None:
            return Finding(Kind.SIZES, *where, "it cannot be read")
        named = {thumbnail_key(recorded.asset_id, size.longest, said.is_open(size)) for size in said.sizes}
        there = {each.key for each in lasting.values() if each.kind is ObjectKind.THUMBNAIL}
        on_record = {each.key for each in recorded.objects if each.kind is ObjectKind.THUMBNAIL}
        unnamed, absent = (there & on_record) - named, named - there - on_record
        if unnamed or absent:
            parts = [("does not name", unnamed), ("names, and there is not,", absent)]
            return Finding(Kind.SIZES, *where, "; ".join(f"it {how} {_short(keys)}" for how, keys in parts if keys))
        return said


def places(recorded: Recorded) -> set[tuple[str, str]]:
    """Return bucket and key of each object that is on record."""
    return {(each.bucket, each.key) for each in recorded.objects}


def _not_on_record(recorded: Recorded, stored: StoredKey, sizes: ThumbnailSet | None) -> Finding:
    stage, outcomes = _NONE_STORED[stored.kind]
    result = recorded.results.get(stage)
    left = result is not None and result.outcome in outcomes
    if stored.kind is ObjectKind.THUMBNAIL and sizes is not None:
        listed = {thumbnail_key(recorded.asset_id, size.longest, sizes.is_open(size)) for size in sizes.sizes}
        left = left or stored.key not in listed
    kind = Kind.LEFTOVER if left else Kind.UNRECORDED
    return Finding(kind, recorded.asset_id, stored.bucket, stored.key, f"{stored.bytes} bytes")


def _recorded_sizes(recorded: Recorded) -> ThumbnailSet | None:
    """Return the thumbnails as the ledger has them, if it says."""
    result = recorded.results.get(Stage.THUMBNAILS)
    pairs, opened = (result.facts.get("sizes"), result.facts.get("open")) if result else (None, None)
    if not isinstance(pairs, list) or not isinstance(opened, int):
        return None
    sizes = tuple(Size(int(width), int(height)) for width, height in pairs)
    return ThumbnailSet(sizes[:opened], sizes[opened:])


def _short(keys: set[str]) -> str:
    return ", ".join(sorted("/".join(key.split("/")[3:]) for key in keys))
