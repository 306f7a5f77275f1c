"""A run over a range of partitions, one of which fails, and what the UI asks of Dagster about it afterwards."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

KEYS = [f"@2/1/{number:02}" for number in range(20)]
FAILING = KEYS[7]
ASSET = dg.AssetKey("looked_at")
pages = dg.DynamicPartitionsDefinition(name="pages")


@dg.multi_asset(
    specs=[dg.AssetSpec(ASSET, partitions_def=pages, skippable=True, code_version="1")],
    backfill_policy=dg.BackfillPolicy.multi_run(len(KEYS)),
)
def look(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
    for key in context.partition_keys:
        if key != FAILING:
            tags = {"dagster/data_version": f"version of {key}"}
            yield dg.AssetMaterialization(ASSET, partition=key, metadata={"of": key}, tags=tags)
    raise dg.Failure(f"{FAILING} failed", allow_retries=False)


job = dg.Definitions(assets=[look]).resolve_implicit_global_asset_job_def()


def run_all(instance: dg.DagsterInstance) -> str:
    """Run over all partitions; return the run's id."""
    instance.add_dynamic_partitions("pages", KEYS)
    tags = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
    result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    assert not result.success
    return result.run_id


def shown(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """Return what the UI shows of a run, without times and ids."""
    status = get_and_update_asset_status_cache_value(instance, ASSET, pages, dynamic_partitions_loader=instance)
    assert status is not None
    attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
    newest = instance.fetch_materializations(dg.AssetRecordsFilter(ASSET, asset_partitions=[KEYS[3]]), limit=5)
    (record,) = instance.get_asset_records([ASSET])
    last = record.asset_entry.last_materialization
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert last is not None
    return {
        "events": Counter(entry.dagster_event_type for entry in instance.all_logs(run_id)),
        "planned": [
            entry.get_dagster_event().partition
            for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        ],
        "materialised": status.deserialize_materialized_partition_subsets(pages).get_partition_keys(),
        "failed": status.deserialize_failed_partition_subsets(pages).get_partition_keys(),
        "attempts": {key: of == run_id for key, (of, _) in attempts(ASSET).items()},
        "metadata": [each.asset_materialization and each.asset_materialization.metadata for each in newest.records],
        "tags": instance.get_event_tags_for_asset(ASSET),
        "last": (last.get_dagster_event().partition, record.asset_entry.last_run_id == run_id),
        "run": (run.status, run.tags["dagster/asset_partition_range_start"]),
    }
