"""Runs of Dagster that ended long ago: which may be deleted, and all that is stored of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import dagster as dg

# Not public, but with SQLite each run has a file of its own, which Dagster empties and leaves at its size.
from dagster._core.storage.event_log import SqliteEventLogStorage

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.partitions import KEYS_PER_STATEMENT, WorkingSet
from dlcs_assets.domain.stages import STAGES

ENDED_RUNS = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
EVENTS_PER_QUERY = 500
Item = TypeVar("Item")
SHARD_SUFFIXES = ("", "-wal", "-shm", "-journal")


def delete_old_runs(
    instance: dg.DagsterInstance, catalog: Catalog, *, before: datetime, dry_run: bool = False
) -> dict[str, int]:
    """Delete runs that ended before a moment, with their events and logs; return how many, and how many had to stay.

    Runs over assets of others stay.

    With a run's events goes the state of the partitions that it was the last to touch, so a run stays as long as the
    state of one of today's partitions is from it. Raises the first error, once all other runs are deleted.
    """
    needed = _runs_that_tell(instance, WorkingSet.of(instance, catalog), before)
    runs = instance.get_runs(dg.RunsFilter(statuses=ENDED_RUNS, updated_before=before))
    ended = [run.run_id for run in runs if catalog.owns_any(run.asset_selection)]
    old = [run_id for run_id in ended if run_id not in needed]
    errors: list[Exception] = []
    for run_id in () if dry_run else old:
        try:
            _delete(instance, run_id)
        except Exception as error:  # noqa: BLE001 (of a store of logs, of whatever kind: the others are deleted)
            errors.append(error)
    if errors:
        raise errors[0]
    return {"deleted": len(old), "kept for their partitions": len(ended) - len(old)}


def _runs_that_tell(instance: dg.DagsterInstance, working_set: WorkingSet, before: datetime) -> set[str]:
    """Return the runs of before a moment that these partitions have their state from, materialised or failed."""
    found: set[str] = set()
    keys = working_set.order
    for stage in STAGES:
        asset = working_set.catalog.asset(stage)
        for ids in _slices(_newest_ids(instance, asset, keys), EVENTS_PER_QUERY):
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset, storage_ids=ids, before_timestamp=before.timestamp()), limit=len(ids)
            )
            found.update(record.run_id for record in records.records)
        attempts = (
            instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
        )
        kept = set(keys)
        found.update(run_id for key, (run_id, _) in attempts(asset).items() if key in kept)
    return found


def _newest_ids(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Sequence[str]) -> list[int]:
    found: list[int] = []
    for some in _slices(keys, KEYS_PER_STATEMENT):
        newest = instance.get_latest_storage_id_by_partition(
            asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(some)
        )
        found += newest.values()
    return found


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    # The logs first: of a run that is gone no one would find them again.
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    events = instance.event_log_storage
    if isinstance(events, SqliteEventLogStorage):
        for suffix in SHARD_SUFFIXES:
            Path(f"{events.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)


def _slices(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
