"""How images ended, written to the DLCS's own database: what its engine owes it, in both layouts.

One transaction for an image, then one for each of its batches. All of it may be repeated: a second time changes nothing
but times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, TableClause, text

from dlcs_assets.clients.dlcs_database import INTERRUPTED, OF_IMAGES, DlcsAsset, DlcsDatabase, locked_asset, table_of
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import TransientError
from dlcs_assets.domain.ingest_request import Registration, register
from dlcs_assets.domain.signed_url import unsigned
from dlcs_assets.domain.thumbnails import ThumbnailSet

LONGEST_ERROR: Final = 1000
LONGEST_LOCATION: Final = 500
_LONGEST_MEDIA_TYPE: Final = 100
_UNKNOWN_TYPE: Final = "image/unknown"

_ENDED: Final = table_of("Images", "Width", "Height", "MediaType", "Error", "Ingesting", "Finished")
_LOCATIONS: Final = table_of("ImageLocation", "Id", "S3", "Nas")
_STORAGE: Final = table_of(
    "ImageStorage", "Id", "Customer", "Space", "Size", "ThumbnailSize", "LastChecked", "CheckingInProgress"
)
_METADATA: Final = table_of(
    "AssetApplicationMetadata", "AssetId", "MetadataType", "MetadataValue", "Created", "Modified"
)
_BATCH_ASSETS: Final = table_of("BatchAssets", "BatchId", "AssetId", "Status", "Error", "Finished")
_BATCHES: Final = table_of("Batches", "Id", "Customer", "Count", "Submitted", "Superseded")
_COUNTS: Final = table_of("Batches", "Completed", "Errors", "Finished")
_TOTALS: Final = table_of("CustomerStorage", "Customer", "Space", "TotalSizeOfStoredImages", "TotalSizeOfThumbnails")
_QUEUES: Final = table_of("Queues", "Customer", "Name", "Size")
_BOTH: Final = ("INSERT", "UPDATE")
_RIGHTS: Final[Mapping[TableClause, Sequence[str]]] = {
    _ENDED: ("UPDATE",),
    _LOCATIONS: _BOTH,
    _STORAGE: _BOTH,
    _METADATA: _BOTH,
    _BATCH_ASSETS: ("UPDATE",),
    _COUNTS: ("UPDATE",),
    _TOTALS: _BOTH,
    _QUEUES: _BOTH,
}
_TABLES: Final = (*OF_IMAGES, _BATCHES, *_RIGHTS)

_IMAGE_ENDED: Final = text("""
UPDATE "Images" SET
  "Width" = CASE WHEN :width > 0 THEN :width ELSE "Width" END,
  "Height" = CASE WHEN :height > 0 THEN :height ELSE "Height" END,
  "MediaType" = CASE WHEN "MediaType" = 'image/unknown' AND :media_type <> '' THEN :media_type ELSE "MediaType" END,
  "Error" = :error, "Ingesting" = false, "Finished" = now()
WHERE "Id" = :id
""")
_LOCATED: Final = text("""
INSERT INTO "ImageLocation" ("Id", "S3", "Nas") VALUES (:id, :location, '')
ON CONFLICT ("Id") DO UPDATE SET "S3" = excluded."S3", "Nas" = excluded."Nas"
""")
_AWAITED: Final = text("""
SELECT "Ingesting" OR EXISTS (
  SELECT 1 FROM "BatchAssets" WHERE "AssetId" = :id AND "BatchId" = ANY(:batches) AND "Status" = 1
) FROM "Images" WHERE "Id" = :id
""")
_STORED_BEFORE: Final = text("""
SELECT "Size", "ThumbnailSize" FROM "ImageStorage"
WHERE "Id" = :id AND "Customer" = :customer AND "Space" = :space FOR UPDATE
""")
_STORED: Final = text("""
INSERT INTO "ImageStorage" ("Id", "Customer", "Space", "Size", "ThumbnailSize", "LastChecked", "CheckingInProgress")
VALUES (:id, :customer, :space, :size, :thumbnails, now(), false)
ON CONFLICT ("Id", "Customer", "Space") DO UPDATE SET
  "Size" = excluded."Size", "ThumbnailSize" = excluded."ThumbnailSize", "LastChecked" = excluded."LastChecked"
""")
_SIZES: Final = text("""
INSERT INTO "AssetApplicationMetadata" ("AssetId", "MetadataType", "MetadataValue", "Created", "Modified")
VALUES (:id, 'ThumbSizes', CAST(:sizes AS jsonb), now(), now())
ON CONFLICT ("AssetId", "MetadataType") DO UPDATE SET
  "MetadataValue" = excluded."MetadataValue", "Modified" = excluded."Modified"
""")
_IN_BATCHES: Final = text("""
UPDATE "BatchAssets" b SET "Status" = :status, "Error" = :error, "Finished" = now()
FROM (SELECT "BatchId", "Status" FROM "BatchAssets" WHERE "AssetId" = :id AND "BatchId" = ANY(:batches)
      ORDER BY "BatchId" FOR UPDATE) before
WHERE b."AssetId" = :id AND b."BatchId" = before."BatchId"
RETURNING b."BatchId" AS batch, before."Status" AS before
""")
# The DLCS of 2025 makes the row when it first asks for it; that of 2026 has it from the beginning.
_TOTAL_2025: Final = text("""
INSERT INTO "CustomerStorage"
  ("Customer", "Space", "StoragePolicy", "NumberOfStoredImages", "TotalSizeOfStoredImages", "TotalSizeOfThumbnails")
VALUES (:customer, 0, 'default', 0, :size, :thumbnails)
ON CONFLICT ("Customer", "Space") DO UPDATE SET
  "TotalSizeOfStoredImages" = "CustomerStorage"."TotalSizeOfStoredImages" + :size,
  "TotalSizeOfThumbnails" = "CustomerStorage"."TotalSizeOfThumbnails" + :thumbnails
""")
_TOTAL_2026: Final = text("""
UPDATE "CustomerStorage" SET
  "TotalSizeOfStoredImages" = "TotalSizeOfStoredImages" + :size,
  "TotalSizeOfThumbnails" = "TotalSizeOfThumbnails" + :thumbnails
WHERE "Customer" = :customer AND "Space" IS NULL
""")
_TAKEN: Final = text("""
INSERT INTO "Queues" ("Customer", "Name", "Size") VALUES (:customer, :queue, 0)
ON CONFLICT ("Customer", "Name") DO UPDATE SET "Size" = greatest("Queues"."Size" - :taken, 0)
""")
_RECOUNT: Final = text("""
WITH counted AS (
  SELECT count(*) FILTER (WHERE "Status" = 3)::int AS completed, count(*) FILTER (WHERE "Status" = 2)::int AS errors
  FROM "BatchAssets" WHERE "BatchId" = :batch
)
UPDATE "Batches" SET "Completed" = counted.completed, "Errors" = counted.errors,
  "Finished" = CASE WHEN counted.completed + counted.errors = "Count" THEN now() END
FROM counted WHERE "Id" = :batch AND "Finished" IS NULL
""")
_BATCH: Final = text("""
SELECT "Id", "Customer", "Count", "Completed", "Errors", "Submitted", "Finished", "Superseded" FROM "Batches"
WHERE "Id" = :batch AND "Customer" = :customer AND "Finished" IS NOT NULL
""")

_WAITING, _ERROR, _COMPLETED = 1, 2, 3  # of BatchAssets.Status


@dataclass(frozen=True, slots=True)
class DlcsEnd:
    """How an image ended, in the DLCS's terms. None, and 0 for an edge: what is there stays.

    `registration` is what it was made by, if the DLCS said so; nothing is written if the DLCS says something else by
    now. `error` is why it failed, `sizes` the thumbnails that it has. `size` and `thumbnail_size` are bytes that are
    stored; a row for them is made with `is_counted` only. `batches` are those in which it was asked for, each with the
    name of the queue.

    `only_if_awaited`: nothing is written of an image that the DLCS does not wait for. `only_in_batches`: what it has of
    the image itself is newer.
    """

    asset_id: AssetId
    registration: Registration | None = None
    error: str | None = None
    width: int = 0
    height: int = 0
    media_type: str | None = None
    location: str | None = None
    sizes: ThumbnailSet | None = None
    size: int | None = None
    thumbnail_size: int | None = None
    is_counted: bool = True
    batches: Mapping[int, str] = field(default_factory=dict)
    only_if_awaited: bool = False
    only_in_batches: bool = False


@dataclass(frozen=True, slots=True)
class DlcsBatch:
    """A batch that has finished, as the DLCS counts it."""

    id: int
    customer: int
    count: int
    completed: int
    errors: int
    submitted: datetime
    finished: datetime
    superseded: bool


@dataclass(frozen=True, slots=True)
class Written:
    """The DLCS has it. `finished` are those of its batches that have ended by now."""

    finished: tuple[DlcsBatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """Nothing was written: the DLCS says something else of the image by now."""

    asset: DlcsAsset


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing was written: the DLCS has no such image (any more)."""


EndResult = Written | Changed | Gone


def write_end(database: DlcsDatabase, end: DlcsEnd) -> EndResult:
    """Write how an image ended. Raises the errors of the error tree, codes `dlcs_database_*`; then nothing is sure."""
    try:
        result = _write(database, end)
    except TransientError as error:
        if error.code != INTERRUPTED:
            raise
        result = _write(database, end)  # a deadlock with others is over now
    if isinstance(result, frozenset):
        # By itself: in the same transaction two that end the last two images of a batch would not see each other.
        return Written(tuple(found for batch in sorted(result) if (found := _recount(database, end, batch))))
    return result


def check_writing(database: DlcsDatabase) -> None:
    """Raise what keeps ends from being written: each table, column and right that is missing, by its name."""
    with database.writing(_TABLES, _RIGHTS):
        pass


def _write(database: DlcsDatabase, end: DlcsEnd) -> frozenset[int] | Changed | Gone:
    """Write all but the counts of batches; return those that are to be counted.

    The order of the tables is always the same, so that no two writers wait for each other.
    """
    image = {"id": str(end.asset_id), "batches": list(end.batches)}
    with database.writing(_TABLES, _RIGHTS) as (connection, layout):
        asset = locked_asset(connection, layout, end.asset_id)
        if asset is None:
            return Gone()
        if end.only_if_awaited and not connection.scalar(_AWAITED, image):
            return frozenset()
        grown = (0, 0)
        if not end.only_in_batches:
            if end.registration and not _is_same(end.registration, register(asset.fields, None)):
                return Changed(asset)
            grown = _write_image(connection, end)
        status = _COMPLETED if end.error is None else _ERROR
        values = {**image, "status": status, "error": end.error}
        rows = connection.execute(_IN_BATCHES, values).all() if end.batches else []
        customer = end.asset_id.customer
        if any(grown):
            values = {"customer": customer, "size": grown[0], "thumbnails": grown[1]}
            connection.execute(_TOTAL_2026 if layout.null_is_all else _TOTAL_2025, values)
        # The DLCS counts up when it sends the message, and its row waits from then on: a second time it does not.
        taken = [end.batches[row.batch] for row in rows if row.before == _WAITING]
        for queue in sorted(set(taken)):
            connection.execute(_TAKEN, {"customer": customer, "queue": queue, "taken": taken.count(queue)})
    return frozenset(row.batch for row in rows)


def _write_image(connection: Connection, end: DlcsEnd) -> tuple[int, int]:
    """Write what is of the image alone; return by how much what is stored of it has grown."""
    image_id = str(end.asset_id)
    connection.execute(
        _IMAGE_ENDED,
        {
            "id": image_id,
            "width": end.width,
            "height": end.height,
            "media_type": (end.media_type or "")[:_LONGEST_MEDIA_TYPE],
            "error": (end.error or "")[:LONGEST_ERROR],
        },
    )
    if end.location is not None:
        connection.execute(_LOCATED, {"id": image_id, "location": end.location})
    grown = _write_storage(connection, end)
    if end.sizes is not None:
        connection.execute(_SIZES, {"id": image_id, "sizes": end.sizes.sizes_json()})
    return grown


def _write_storage(connection: Connection, end: DlcsEnd) -> tuple[int, int]:
    """Write what is stored of the image; return by how much it has grown."""
    if end.size is None and end.thumbnail_size is None:
        return 0, 0
    key = {"id": str(end.asset_id), "customer": end.asset_id.customer, "space": end.asset_id.space}
    row = connection.execute(_STORED_BEFORE, key).one_or_none()
    if row is None and not end.is_counted:
        return 0, 0
    before = (row.Size, row.ThumbnailSize) if row else (0, 0)
    size = before[0] if end.size is None else end.size
    thumbnails = before[1] if end.thumbnail_size is None else end.thumbnail_size
    connection.execute(_STORED, {**key, "size": size, "thumbnails": thumbnails})
    return size - before[0], thumbnails - before[1]


def _recount(database: DlcsDatabase, end: DlcsEnd, batch: int) -> DlcsBatch | None:
    """Have the batch counted, and return it if it has finished."""
    with database.writing(_TABLES, _RIGHTS) as (connection, _):
        connection.execute(_RECOUNT, {"batch": batch})
        row = connection.execute(_BATCH, {"batch": batch, "customer": end.asset_id.customer}).one_or_none()
    if row is None:
        return None
    return DlcsBatch(
        row.Id, row.Customer, row.Count, row.Completed, row.Errors, row.Submitted, row.Finished, row.Superseded
    )


def _is_same(made_by: Registration, said: Registration) -> bool:
    """Return whether an image would be made by one as by the other. Signatures of addresses are not kept."""
    return _comparable(made_by, made_by) == _comparable(said, made_by)


def _comparable(registration: Registration, made_by: Registration) -> Registration:
    # A type that the DLCS did not know is written there when the image has ended.
    media_type = None if made_by.media_type in {None, _UNKNOWN_TYPE} else registration.media_type
    return replace(registration, origin=unsigned(registration.origin), media_type=media_type)
