"""What is left without an end in the DLCS's database: images that wait there, and batches whose images have all ended.

Its own engine leaves both where it stops half-way; so does a message that is lost, and an image deleted from a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from dlcs_assets.clients.dlcs_database import DlcsDatabase, table_of
from dlcs_assets.clients.dlcs_ends import DlcsBatch
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError

_IMAGES: Final = table_of("Images", "Id", "Family", "Ingesting", "Created")
_BATCHES: Final = table_of(
    "Batches", "Id", "Customer", "Count", "Completed", "Errors", "Submitted", "Finished", "Superseded"
)
_BATCH_ASSETS: Final = table_of("BatchAssets", "BatchId", "AssetId", "Status")
_TABLES: Final = (_IMAGES, _BATCHES, _BATCH_ASSETS)

# Of the families that are made here. When an image was asked for is known of its batches only.
_LEFT_IMAGES: Final = text("""
SELECT i."Id" AS id, greatest(i."Created", max(b."Submitted")) AS since,
  array_remove(array_agg(b."Id" ORDER BY b."Id"), NULL) AS batches
FROM "Images" i
LEFT JOIN "BatchAssets" a ON a."AssetId" = i."Id" AND a."Status" IN (0, 1)
LEFT JOIN "Batches" b ON b."Id" = a."BatchId" AND b."Finished" IS NULL AND NOT b."Superseded"
WHERE i."Family" IN ('I', 'F') AND (i."Ingesting" OR b."Id" IS NOT NULL)
GROUP BY i."Id"
HAVING greatest(i."Created", max(b."Submitted")) < now() - make_interval(secs => :seconds)
ORDER BY since, i."Id"
""")
_LEFT_BATCHES: Final = text("""
SELECT b."Id" AS id, b."Customer" AS customer, b."Count" AS declared, b."Submitted" AS submitted,
  count(*) FILTER (WHERE a."Status" = 3) AS completed, count(*) FILTER (WHERE a."Status" = 2) AS errors
FROM "Batches" b LEFT JOIN "BatchAssets" a ON a."BatchId" = b."Id"
WHERE b."Finished" IS NULL AND NOT b."Superseded"
  AND b."Submitted" < now() - make_interval(secs => :seconds)
GROUP BY b."Id" HAVING count(*) FILTER (WHERE a."Status" IN (0, 1)) = 0
ORDER BY b."Submitted", b."Id"
""")
# As the API ends a batch that it is asked to test. Its engine would wait for images that were deleted.
_END_BATCH: Final = text("""
WITH counted AS (
  SELECT count(*) FILTER (WHERE "Status" = 3)::int AS completed, count(*) FILTER (WHERE "Status" = 2)::int AS errors,
    count(*) FILTER (WHERE "Status" IN (0, 1)) AS open
  FROM "BatchAssets" WHERE "BatchId" = :batch
)
UPDATE "Batches" SET "Count" = completed + errors, "Completed" = completed, "Errors" = errors, "Finished" = now(),
  "Superseded" = (completed + errors = 0)
FROM counted WHERE "Id" = :batch AND "Finished" IS NULL AND open = 0
RETURNING "Id", "Customer", "Count", "Batches"."Completed", "Batches"."Errors", "Submitted", "Finished", "Superseded"
""")


@dataclass(frozen=True, slots=True)
class LeftImage:
    """An image that waits since then, in these batches, or for itself."""

    asset_id: AssetId
    since: datetime
    batches: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftBatch:
    """A batch of which no image waits any more. Fewer may have ended than were `declared`: the others were deleted."""

    id: int
    customer: int
    declared: int
    completed: int
    errors: int
    submitted: datetime


def left_images(database: DlcsDatabase, longer_than: timedelta) -> list[LeftImage]:
    """Return the images that have waited for longer, the oldest first."""
    with database.reading(_TABLES) as (connection, _):
        rows = connection.execute(_LEFT_IMAGES, {"seconds": longer_than.total_seconds()}).all()
    found = []
    for row in rows:
        try:
            found.append(LeftImage(AssetId.parse(row.id), row.since, tuple(row.batches)))
        except MessageRejectedError:
            continue  # no image of this system can have such an id
    return found


def left_batches(database: DlcsDatabase, longer_than: timedelta) -> list[LeftBatch]:
    """Return the batches that were submitted before that, have not finished, and wait for no image."""
    with database.reading(_TABLES) as (connection, _):
        rows = connection.execute(_LEFT_BATCHES, {"seconds": longer_than.total_seconds()}).all()
    return [LeftBatch(row.id, row.customer, row.declared, row.completed, row.errors, row.submitted) for row in rows]


def end_batch(database: DlcsDatabase, batch: int) -> DlcsBatch | None:
    """Count a batch by what is left of it, and end it; None if it has ended meanwhile, or waits again."""
    with database.writing(_TABLES, {_BATCHES: ("UPDATE",)}) as (connection, _):
        row = connection.execute(_END_BATCH, {"batch": batch}).one_or_none()
    return None if row is None else DlcsBatch(*row)
