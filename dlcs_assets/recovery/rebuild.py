"""Making the ledger's rows of images from what S3 has of them, and from the DLCS's database if there is one.

What a run would have known and S3 does not say is left out, and named: no recipe is recorded, so that all that is
found is stale until it is made again; and no image is ever more open than its thumbnails are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from dlcs_assets.clients.dlcs_database import DlcsAsset, DlcsDatabase
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.media_type import declared_type
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, joint_version
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.storage_keys import thumbnail_key, thumbnail_prefix
from dlcs_assets.domain.text import shown_text
from dlcs_assets.domain.thumbnails import UNRESTRICTED, ThumbnailSet, read_sizes_json
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.rebuilding import FoundImage
from dlcs_assets.ledger.transitions import Reason
from dlcs_assets.recovery.inventory import PAGE, Inventory, Scope, StoredKey, batches

INCOMPLETE: Final = "found_incomplete"
CONTENT_TYPES: Final = {ObjectKind.SIZES: "application/json", ObjectKind.THUMBNAIL: "image/jpeg"}

_FROM_DLCS: Final = ("origin", "delivery channels and policies", "roles", "width and height")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What becomes of an image. `unknown` names what nothing says; `why` is why it is failed, or was left out.

    `state` is that which its request has in the ledger: done or failed; or skipped, if it could not be read.
    """

    asset_id: AssetId
    state: str
    objects: int
    bytes: int
    unknown: tuple[str, ...] = ()
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: a line of `dlcs ledger rebuild --json`."""
        return {
            "id": str(self.asset_id),
            "state": self.state,
            "objects": self.objects,
            "bytes": self.bytes,
            "unknown": list(self.unknown),
            "why": self.why,
        }


@dataclass
class Totals:
    """What a rebuild comes to. `known` counts images that the ledger has, and that are not touched."""

    known: int = 0
    transient: int = 0
    objects: int = 0
    bytes: int = 0
    states: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, image: Rebuilt) -> None:
        """Add an image."""
        self.states[image.state] += 1
        self.objects += image.objects
        self.bytes += image.bytes
        self.unknown.update(image.unknown)


@dataclass(frozen=True)
class Rebuild:
    """Fills the ledger. With `dry_run` nothing is read but listings, and nothing is written.

    It may be ended and started again at any time: images are added a page at a time, each page in one transaction, and
    what the ledger has already is not touched.
    """

    ledger: Ledger
    storage: Storage
    database: DlcsDatabase | None = None
    region: str | None = None
    dry_run: bool = True
    totals: Totals = field(default_factory=Totals)

    def run(self, inventory: Inventory, scope: Scope) -> Iterator[Rebuilt]:
        """Yield what becomes of each image. Raises the errors of the error tree if S3 or the database is away."""
        with ThreadPoolExecutor(self.storage.in_flight) as threads:
            for page in inventory.pages():
                yield from self._page(page, threads)
        if self.database is not None:
            yield from self._only_registered(self.database, inventory, scope)

    def images(self, page: Mapping[str, list[StoredKey]]) -> Iterator[Rebuilt]:
        """Yield what becomes of these images."""
        with ThreadPoolExecutor(self.storage.in_flight) as threads:
            yield from self._page(page, threads)

    def _page(self, page: Mapping[str, list[StoredKey]], threads: ThreadPoolExecutor) -> Iterator[Rebuilt]:
        known = self.ledger.rebuilding.known(list(page))
        self.totals.known += len(known)
        new: dict[str, list[StoredKey]] = {}
        for image in [image for image in page if image not in known]:
            lasting = [each for each in page[image] if each.kind is not ObjectKind.TRANSIENT]
            self.totals.transient += len(page[image]) - len(lasting)
            if lasting:
                new[image] = lasting
        registered = self.database.assets(list(new)) if self.database else {}
        found: list[tuple[FoundImage | None, Rebuilt]]
        if self.dry_run:
            found = [_listed(stored, registered.get(image)) for image, stored in new.items()]
        else:
            found = list(threads.map(lambda image: self.read(new[image], registered.get(image)), new))
        yield from self._add(found)

    def _add(self, found: Sequence[tuple[FoundImage | None, Rebuilt]]) -> Iterator[Rebuilt]:
        images = [image for image, _ in found if image is not None]
        added = set() if self.dry_run else set(self.ledger.rebuilding.add(images, now=datetime.now(UTC)))
        for image, rebuilt in found:
            if image is not None and not self.dry_run and str(image.asset_id) not in added:
                self.totals.known += 1  # it came in while it was being read
                continue
            self.totals.add(rebuilt)
            yield rebuilt

    def read(self, stored: Sequence[StoredKey], registered: DlcsAsset | None) -> tuple[FoundImage | None, Rebuilt]:
        """Read what S3 knows of an image's objects; None for the image if one of them cannot be read."""
        asset_id = stored[0].own.asset_id
        try:
            sizes, sizes_record, problem = self._sizes(stored)
            wanted = _wanted(asset_id, stored, sizes)
            records, computed = self._records([each for each in wanted if each.kind is not ObjectKind.SIZES])
        except PermanentError as error:  # the others are read nevertheless
            size = sum(each.bytes for each in stored)
            return None, Rebuilt(asset_id, "skipped", len(stored), size, why=str(error))
        problem = problem or _problem(asset_id, records, sizes, sizes_record)
        records += [sizes_record] if sizes_record else []
        image = FoundImage(
            asset_id,
            _registration(stored, sizes, registered, records),
            tuple(_results(asset_id, records, sizes, registered, self.region)),
            max(each.modified for each in stored),
            _incomplete(problem, registered),
        )
        unknown = list(_unknown(stored, registered))
        if computed:
            unknown.append("checksums from when it was stored")
        return image, _rebuilt(image, unknown)

    def _sizes(self, stored: Sequence[StoredKey]) -> tuple[ThumbnailSet | None, ObjectRecord | None, str | None]:
        """Return what `s.json` says, its record, and what is wrong with it."""
        found = next((each for each in stored if each.kind is ObjectKind.SIZES), None)
        if found is None:
            return None, None, None
        data = self.storage.read_bytes(found.bucket, found.key)
        record = ObjectRecord(
            found.bucket,
            found.key,
            ObjectKind.SIZES,
            len(data),
            hashlib.sha256(data).hexdigest(),
            CONTENT_TYPES[ObjectKind.SIZES],
        )
        try:
            return read_sizes_json(data.decode()), record, None
        except ValueError:
            return None, record, "s.json cannot be read"

    def _records(self, stored: Sequence[StoredKey]) -> tuple[list[ObjectRecord], int]:
        """Return the records of objects that are there, and how many checksums had to be computed."""
        records, computed = [], 0
        for each in stored:
            head = self.storage.head(each.bucket, each.key)
            if head is None:
                continue  # it was deleted meanwhile
            sha256, size = head.sha256, head.bytes
            if sha256 is None:
                digest = self.storage.digest(each.bucket, each.key)
                if digest is None:
                    continue
                sha256, size, computed = digest.sha256, digest.bytes, computed + 1
            records.append(ObjectRecord(each.bucket, each.key, each.kind, size, sha256, head.content_type))
        return records, computed

    def _only_registered(self, database: DlcsDatabase, inventory: Inventory, scope: Scope) -> Iterator[Rebuilt]:
        """Add what the DLCS has registered, and S3 has nothing of."""
        assets = (
            iter(database.assets(scope.ids).values())
            if scope.ids
            else database.all_assets(customer=scope.customer, space=scope.space)
        )
        for page in batches((each for each in assets if scope.covers(each.asset_id)), PAGE):
            ids = [str(asset.asset_id) for asset in page]
            stored, known = inventory.of(ids), self.ledger.rebuilding.known(ids)
            lasting = {
                image for image, keys in stored.items() if any(key.kind is not ObjectKind.TRANSIENT for key in keys)
            }
            new = [asset for asset in page if str(asset.asset_id) not in lasting | known]
            self.totals.known += sum(image in known and image not in lasting for image in ids)
            yield from self._add([_not_stored(asset) for asset in new])


def _listed(stored: Sequence[StoredKey], registered: DlcsAsset | None) -> tuple[FoundImage | None, Rebuilt]:
    """Return what would become of an image, as far as a listing says."""
    asset_id, size = stored[0].own.asset_id, sum(each.bytes for each in stored)
    problem = _incomplete(_problem_of_keys(stored), registered)
    state, why = ("failed", problem.cause) if problem else ("done", None)
    return None, Rebuilt(asset_id, state, len(stored), size, tuple(_unknown(stored, registered)), why)


def _not_stored(asset: DlcsAsset) -> tuple[FoundImage, Rebuilt]:
    """Return an image of which S3 has nothing: as it should be, if it has no channel."""
    needs_nothing = asset.channels is not None and {each.channel for each in asset.channels} == {Channel.NONE}
    problem = None if needs_nothing else "S3 has nothing of it"
    image = FoundImage(
        asset.asset_id,
        _of_dlcs(asset),
        (),
        asset.finished or asset.created,
        _incomplete(problem, asset),
    )
    return image, _rebuilt(image, asset.odd)


def _rebuilt(image: FoundImage, unknown: Sequence[str]) -> Rebuilt:
    objects = [record for result in image.results for record in result.objects]
    state, why = ("failed", image.incomplete.cause) if image.incomplete else ("done", None)
    size = sum(record.bytes for record in objects)
    return Rebuilt(image.asset_id, state, len(objects), size, tuple(unknown), why)


def _unknown(stored: Sequence[StoredKey], registered: DlcsAsset | None) -> Iterator[str]:
    if registered is not None:
        yield from registered.odd
    else:
        yield from _FROM_DLCS
        if not any(each.kind is ObjectKind.THUMBNAIL for each in stored):
            yield "who may see it: taken as restricted"
    if any(each.kind is ObjectKind.JP2 for each in stored):
        yield "whether the JP2 was converted or copied"


def _wanted(asset_id: AssetId, stored: Sequence[StoredKey], sizes: ThumbnailSet | None) -> list[StoredKey]:
    """Return the objects that make up the image: of the thumbnails only those that `s.json` names, if there is one."""
    if sizes is None:
        return list(stored)
    named = {thumbnail_key(asset_id, size.longest, sizes.is_open(size)) for size in sizes.sizes}
    return [each for each in stored if each.kind is not ObjectKind.THUMBNAIL or each.key in named]


def _problem(
    asset_id: AssetId, records: Sequence[ObjectRecord], sizes: ThumbnailSet | None, sizes_record: ObjectRecord | None
) -> str | None:
    there = {record.key for record in records if record.kind is ObjectKind.THUMBNAIL}
    if sizes_record is None:
        return "there are thumbnails, and no s.json" if there else None
    if sizes is None:
        return None
    missing = [
        size.longest for size in sizes.sizes if thumbnail_key(asset_id, size.longest, sizes.is_open(size)) not in there
    ]
    return f"s.json names thumbnails that are missing: {', '.join(map(str, missing))}" if missing else None


def _problem_of_keys(stored: Sequence[StoredKey]) -> str | None:
    kinds = {each.kind for each in stored}
    return "there are thumbnails, and no s.json" if kinds & {*CONTENT_TYPES} == {ObjectKind.THUMBNAIL} else None


def _incomplete(problem: str | None, registered: DlcsAsset | None) -> Reason | None:
    """Return why an image is to be made again, by what S3 has of it or by what the DLCS says."""
    if problem is None and registered is not None and registered.ingesting:
        problem = "the DLCS waits for it"
    if problem is None and registered is not None and registered.error:
        problem = f"the DLCS has an error on record: {shown_text(registered.error)}"
    if problem is None:
        return None
    remedy = f"dlcs retry --reason {INCOMPLETE}"
    if registered is None:
        remedy = f"Its origin is not known: send a full message, with asset.origin; with one on record {remedy}"
    return Reason(INCOMPLETE, f"Found when the ledger was rebuilt: {problem}", remedy)


def _registration(
    stored: Sequence[StoredKey],
    sizes: ThumbnailSet | None,
    registered: DlcsAsset | None,
    records: Sequence[ObjectRecord],
) -> Registration:
    if registered is not None:
        return _of_dlcs(registered)
    original = next((record for record in records if record.kind is ObjectKind.ORIGINAL), None)
    return Registration(
        origin="",
        media_type=declared_type(original.content_type) if original else None,
        max_unauthorised=open_limit(stored, sizes),
    )


def _of_dlcs(asset: DlcsAsset) -> Registration:
    return Registration(
        origin=asset.origin,
        media_type=declared_type(asset.media_type),
        channels=asset.channels,
        max_unauthorised=asset.max_unauthorised,
        roles=asset.roles,
    )


def open_limit(stored: Sequence[StoredKey], sizes: ThumbnailSet | None) -> int:
    """Return the longest edge that everyone may see, as the thumbnails show it; 0 if there are none.

    So that no image turns public because its registration was lost.
    """
    if sizes is not None:
        opened, restricted = [size.longest for size in sizes.open], [size.longest for size in sizes.auth]
    else:
        thumbnails = [each.own for each in stored if each.kind is ObjectKind.THUMBNAIL]
        opened = [own.longest for own in thumbnails if own.is_open]
        restricted = [own.longest for own in thumbnails if not own.is_open]
    if restricted or not opened:
        return max((edge for edge in opened if not restricted or edge < min(restricted)), default=0)
    return UNRESTRICTED


def _results(
    asset_id: AssetId,
    records: Sequence[ObjectRecord],
    sizes: ThumbnailSet | None,
    registered: DlcsAsset | None,
    region: str | None,
) -> Iterator[StageResult]:
    """Yield a result for each stage of which S3 has anything. What else a run would have recorded is not known."""
    measured: dict[str, object] = {}
    if registered is not None and registered.width > 0 and registered.height > 0:
        measured = {"width": registered.width, "height": registered.height}
    by_kind: dict[ObjectKind, list[ObjectRecord]] = {}
    for record in records:
        by_kind.setdefault(record.kind, []).append(record)
    for stage, kind, outcome in (
        (Stage.ORIGINAL, ObjectKind.ORIGINAL, Outcome.KEPT),
        (Stage.JP2, ObjectKind.JP2, Outcome.CONVERTED),
    ):
        for record in by_kind.get(kind, ()):
            facts = {"bytes": record.bytes, "sha256": record.sha256, "location": _uri(record, region), **measured}
            if stage is Stage.ORIGINAL:
                facts["media_type"] = declared_type(record.content_type) or record.content_type
            yield StageResult(stage, outcome, record.sha256, {**facts, **_NOTE}, (record,))
    thumbnails, sizes_records = by_kind.get(ObjectKind.THUMBNAIL, []), by_kind.get(ObjectKind.SIZES, [])
    if sizes_records and sizes is not None:
        yield _thumbnails(asset_id, thumbnails, sizes_records[0], sizes, {**measured, **_NOTE}, region)


_NOTE: Final[Mapping[str, object]] = {"note": "Found in S3 when the ledger was rebuilt"}


def _thumbnails(  # noqa: PLR0917 (all of the stage)
    asset_id: AssetId,
    thumbnails: Sequence[ObjectRecord],
    sizes_record: ObjectRecord,
    sizes: ThumbnailSet,
    facts: Mapping[str, object],
    region: str | None,
) -> StageResult:
    of_key = {record.key: record for record in thumbnails}
    in_order: Sequence[Size] = (*sizes.open, *sizes.auth)
    keys = [thumbnail_key(asset_id, size.longest, sizes.is_open(size)) for size in in_order]
    stored = [of_key[key] for key in keys if key in of_key]
    sha256 = joint_version([*stored, sizes_record])
    folder = replace(sizes_record, key=thumbnail_prefix(asset_id))
    return StageResult(
        Stage.THUMBNAILS,
        Outcome.MADE,
        sha256,
        {
            **facts,
            "sizes": [[size.width, size.height] for size in in_order],
            "open": len(sizes.open),
            "restricted": len(sizes.auth),
            "bytes": sum(record.bytes for record in stored),
            "location": _uri(folder, region),
            "sha256": sha256,
        },
        (*stored, sizes_record),
    )


def _uri(record: ObjectRecord, region: str | None) -> str:
    return S3Location(record.bucket, record.key).uri(region)
