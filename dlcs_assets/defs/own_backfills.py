"""Backfills that people launch in Dagster's UI: Dagster keeps them, and here they are read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from dlcs_assets.defs.catalog import Catalog

_LOOKED_THROUGH: Final = 100  # Dagster has all keys of each, of whatever assets, in one row


@dataclass(frozen=True, slots=True)
class OwnBackfill:
    """One of Dagster's: its status in Dagster's word, and numbers of images.

    `images` is None if its assets are not all of the same images. An image counts as ended if it is materialized or
    failed in all of these assets.
    """

    id: str
    status: str
    begun_at: datetime
    ended_at: datetime | None
    images: int | None
    percent: int
    failed: int


def newest(instance: dg.DagsterInstance, catalog: Catalog, *, limit: int) -> list[OwnBackfill]:
    """Return the newest backfills of our assets that a Dagster instance has."""
    some = instance.get_backfills(limit=_LOOKED_THROUGH)
    of_ours = [each for each in some if each.is_asset_backfill and catalog.owns_any(each.asset_selection)]
    found = []
    for each in of_ours[:limit]:
        data = each.asset_backfill_data
        # Older versions of Dagster wrote what only the definitions of that time explain.
        target, ended, failed, images = 0, 0, 0, None
        if data is not None:
            target = data.target_subset.num_partitions_and_non_partitioned_assets
            lost = data.failed_and_downstream_subset
            ended = data.materialized_subset.num_partitions_and_non_partitioned_assets
            ended += lost.num_partitions_and_non_partitioned_assets
            failed = max((len(subset) for subset in lost.partitions_subsets_by_asset_key.values()), default=0)
            images = data.get_num_partitions()
        finished = each.backfill_end_timestamp
        found.append(
            OwnBackfill(
                each.backfill_id,
                each.status.value.lower().replace("_", " "),
                datetime.fromtimestamp(each.backfill_timestamp, UTC),
                datetime.fromtimestamp(finished, UTC) if finished else None,
                images,
                min(ended * 100 // target, 100) if target else 0,
                failed,
            )
        )
    return found
