"""Repairing what was found to disagree: by requests, rows of the ledger, and copies of older versions.

Nothing is deleted here. What is to be deleted is requested, or put on record as transient: runs and `reconcile` delete
it as they always do, with a claim on the image, and never an object that is an image's origin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.recovery.compare import Finding, ImageCompared, Kind
from dlcs_assets.recovery.rebuild import Rebuild

REPAIRS: Final[Mapping[Kind, str]] = {
    Kind.MISSING: "the image is requested again, from the stage on whose object is missing",
    Kind.GONE: "the same",
    Kind.DAMAGED: "the same",
    Kind.CHANGED: "what S3 has is put on record",
    Kind.UNRECORDED: "the same",
    Kind.UNKNOWN_IMAGE: "the image is added, as `dlcs ledger rebuild` does",
    Kind.SIZES: "the thumbnails are requested again",
    Kind.LEFTOVER: "the thumbnails are requested again: the run removes what is no part of the image",
    Kind.DELETED: "the deletion is requested again",
    Kind.TRANSIENT: "it is put on record, and `reconcile` deletes it",
}
_STAGE_OF: Final = {
    ObjectKind.ORIGINAL: Stage.ORIGINAL,
    ObjectKind.JP2: Stage.JP2,
    ObjectKind.THUMBNAIL: Stage.THUMBNAILS,
    ObjectKind.SIZES: Stage.THUMBNAILS,
}
_RECORDED: Final = frozenset({Kind.CHANGED, Kind.UNRECORDED})
_ABSENT: Final = frozenset({Kind.MISSING, Kind.GONE, Kind.DAMAGED})
_REQUESTED: Final = _ABSENT | {Kind.SIZES, Kind.LEFTOVER}
NO_ORIGIN: Final = "its origin is not known: send a full message"
BUSY: Final = "it was requested since, or is being worked on"


@dataclass
class Repaired:
    """What was repaired, or would be: counts of objects by kind, and of images that were skipped by reason."""

    objects: Counter[Kind] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    restored: int = 0


@dataclass(frozen=True)
class Repair:
    """Repairs the kinds that are asked for. With `dry_run` it only counts.

    `from_versions`: missing and damaged objects are first looked for among the older versions of the bucket.
    """

    ledger: Ledger
    storage: Storage
    kinds: Collection[Kind]
    from_versions: bool = False
    dry_run: bool = True
    region: str | None = None
    repaired: Repaired = field(default_factory=Repaired)

    def image(self, compared: ImageCompared) -> None:
        """Repair what was found of one image. Raises the errors of the error tree if S3 is away."""
        wanted = [each for each in compared.findings if each.kind in self.kinds]
        if self.dry_run:
            self._count(wanted)
            return
        now = datetime.now(UTC)
        if self.from_versions:
            wanted = self._restore(compared, wanted)
        by_kind: dict[Kind, list[Finding]] = {}
        for each in wanted:
            by_kind.setdefault(each.kind, []).append(each)
        self._transient(compared, by_kind.get(Kind.TRANSIENT, []))
        self._delete(compared, by_kind.get(Kind.DELETED, []), now)
        self._add(compared, by_kind.get(Kind.UNKNOWN_IMAGE, []))
        self._record(compared, [each for kind in _RECORDED for each in by_kind.get(kind, [])], now)
        self._request(compared, [each for kind in _REQUESTED for each in by_kind.get(kind, [])], now)

    def _count(self, findings: Sequence[Finding]) -> None:
        self.repaired.objects.update(each.kind for each in findings)

    def _restore(self, compared: ImageCompared, findings: Sequence[Finding]) -> list[Finding]:
        """Copy older versions back; return the findings that remain."""
        sha256_of = {(each.bucket, each.key): each.sha256 for each in compared.recorded.objects}
        rest = []
        for each in findings:
            sha256 = sha256_of.get((each.bucket, each.key))
            wanted = each.kind in _ABSENT and sha256 is not None
            if wanted and sha256 and self.storage.restore(each.bucket, each.key, sha256=sha256):
                self.repaired.restored += 1
            else:
                rest.append(each)
        return rest

    def _transient(self, compared: ImageCompared, findings: Sequence[Finding]) -> None:
        places = {(each.bucket, each.key) for each in findings}
        records = [
            ObjectRecord(each.bucket, each.key, ObjectKind.TRANSIENT, each.bytes, "", "")
            for each in compared.stored
            if (each.bucket, each.key) in places
        ]
        if records:
            self.ledger.comparison.note_transient(compared.recorded.asset_id, records)
        self._count(findings)

    def _delete(self, compared: ImageCompared, findings: Sequence[Finding], now: datetime) -> None:
        if findings:
            deleted = AssetDeleted(compared.recorded.asset_id, now, None, frozenset(), ())
            self.ledger.deletions.request([deleted], now=now)
        self._count(findings)

    def _add(self, compared: ImageCompared, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        rebuild = Rebuild(self.ledger, self.storage, region=self.region, dry_run=False)
        image = str(compared.recorded.asset_id)
        for rebuilt in rebuild.images({image: list(compared.stored)}):
            if rebuilt.state == "skipped":
                self.repaired.skipped[rebuilt.why or ""] += 1
            else:
                self._count(findings)

    def _record(self, compared: ImageCompared, findings: Sequence[Finding], now: datetime) -> None:
        if not findings:
            return
        places = {(each.bucket, each.key) for each in findings}
        stages = {_STAGE_OF[each.kind] for each in compared.stored if (each.bucket, each.key) in places}
        lasting = [each for each in compared.stored if each.kind is not ObjectKind.TRANSIENT]
        found, rebuilt = Rebuild(self.ledger, self.storage, region=self.region).read(lasting, None)
        if found is None:
            self.repaired.skipped[rebuilt.why or ""] += 1
            return
        results = [result for result in found.results if result.stage in stages]
        if self.ledger.comparison.replace(compared.recorded, results, now=now):
            self._count(findings)
        else:
            self.repaired.skipped[BUSY] += 1

    def _request(self, compared: ImageCompared, findings: Sequence[Finding], now: datetime) -> None:
        if not findings:
            return
        if not compared.recorded.has_origin:
            self.repaired.skipped[NO_ORIGIN] += 1
            return
        kinds = {(each.bucket, each.key): each.kind for each in compared.recorded.objects}
        stages = {Stage.THUMBNAILS}
        for each in findings:
            if each.kind in _ABSENT:
                first = STAGES.index(_STAGE_OF[kinds[each.bucket, each.key]])
                stages |= set(STAGES[first:])
        self.ledger.registrations.request(
            [(compared.recorded.asset_id, frozenset(stages))], lane=Lane.BACKFILL, now=now
        )
        self._count(findings)
