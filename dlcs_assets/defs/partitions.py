"""Images as Dagster partitions: the working set of keys, and keeping the keys of a chunk in one range.

A run over many partitions takes a range of keys in the order in which they were added. Keys of a chunk that are
scattered are deleted and added again together; their events and status survive that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

# Not public, but without a filter Dagster reads backfills of long ago, each with all of its keys.
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from dlcs_assets.defs import tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.domain.asset_id import InvalidAssetIdError
from dlcs_assets.domain.partition_key import asset_id_of

DISPATCH_LEASE = "dispatch"  # held while keys are added or moved
LEASE_WAIT = timedelta(seconds=3)
KEYS_PER_STATEMENT = 10_000  # a database limits the variables of a statement

UNFINISHED_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNFINISHED_BACKFILLS = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]


@dataclass(frozen=True)
class WorkingSet:
    """The keys that Dagster has at this moment, in their order."""

    catalog: Catalog
    position: Mapping[str, int]
    order: Sequence[str]

    @classmethod
    def of(cls, instance: dg.DagsterInstance, catalog: Catalog) -> WorkingSet:
        """Read the keys of the instance."""
        order = instance.get_dynamic_partitions(catalog.partitions_name)
        return cls(catalog, {key: position for position, key in enumerate(order)}, order)

    def range(self, first: str, last: str) -> Sequence[str]:
        """Return the keys from `first` to `last`, or nothing if one is not there."""
        if first not in self.position or last not in self.position:
            return ()
        return self.order[self.position[first] : self.position[last] + 1]

    def is_range(self, keys: Sequence[str]) -> bool:
        """Return whether the keys are a range: all there, next to each other, in this order."""
        return tuple(self.range(keys[0], keys[-1])) == tuple(keys)


def image_ids(keys: Iterable[str]) -> dict[str, str]:
    """Return the keys by the id of their image. A key that a person added may be no image's."""
    found = {}
    for key in keys:
        with suppress(InvalidAssetIdError):
            found[str(asset_id_of(key))] = key
    return found


def is_image_key(key: str) -> bool:
    """Return whether a key is an image's. One that a person added may be anything."""
    return bool(image_ids([key]))


def keys_in_use(instance: dg.DagsterInstance, working_set: WorkingSet, asset_graph: Any) -> set[str]:
    """Return the keys of all queued and active runs and backfills of ours: these must stay where they are."""
    used: set[str] = set()
    catalog = working_set.catalog
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUNS)):
        if not catalog.owns_any(run.asset_selection):
            continue
        if tags.RANGE_START in run.tags:
            used.update(working_set.range(run.tags[tags.RANGE_START], run.tags[tags.RANGE_END]))
        elif tags.PARTITION in run.tags:
            used.add(run.tags[tags.PARTITION])
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=UNFINISHED_BACKFILLS)):
        if backfill.is_asset_backfill and catalog.owns_any(backfill.asset_selection):
            target = backfill.get_asset_backfill_data(asset_graph).target_subset
            used.update(
                partition.partition_key for partition in target.iterate_asset_partitions() if partition.partition_key
            )
    return used


def arrange(instance: dg.DagsterInstance, catalog: Catalog, groups: Iterable[Sequence[str]]) -> list[str]:
    """Ensure that each group of keys is a range: add what is new, move what is scattered. Return what is new."""
    working_set = WorkingSet.of(instance, catalog)
    scattered = [group for group in groups if not working_set.is_range(group)]
    for group in scattered:
        for key in group:
            if key in working_set.position:
                instance.delete_dynamic_partition(catalog.partitions_name, key)
    added = [key for group in scattered for key in group]
    for start in range(0, len(added), KEYS_PER_STATEMENT):
        instance.add_dynamic_partitions(catalog.partitions_name, added[start : start + KEYS_PER_STATEMENT])
    return [key for key in added if key not in working_set.position]
