"""The nightly job: what leaves Dagster, what stays, and that whatever left comes back when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs.jobs import prune_partitions as keys
from dlcs_assets.defs.partitions import DISPATCH_LEASE
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.settings import Settings
from dlcs_testing.harness import System, full_message, key_of
from dlcs_testing.pictures import jpeg

PAGE, OTHER, LAST = "2/1/page", "2/1/other", "2/1/last"
NEVER = timedelta(days=1)
AT_ONCE = timedelta(0)


@pytest.fixture
def dagster_in_memory() -> bool:
    """Return whether Dagster's history is in memory, which is quick, and not in its own files."""
    return True


@pytest.fixture
def system(make_system: Callable[..., System], *, dagster_in_memory: bool) -> System:
    """Return a system that keeps nothing of what is quiet, after it has ingested one page."""
    system = make_system(dagster_in_memory=dagster_in_memory, partition_window=AT_ONCE, run_retention=NEVER)
    ingest(system, PAGE)
    return system


def ingest(system: System, image: str, channels: str = "file") -> None:
    system.send(full_message(image, system.serve("page.jpg", jpeg(120, 90)), channels))
    system.settle()


def enforce_retention(system: System, *, dry_run: bool = False) -> dict[str, Any]:
    """Run the job; return its numbers by name."""
    run = system.execute_job("maintenance", "enforce_retention", {"dry_run": dry_run})
    assert run.is_success, system.log_of(run)
    (output,) = system.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
    assert output.dagster_event is not None
    return {name: value.value for name, value in output.dagster_event.step_output_data.metadata.items()}


def shown(system: System) -> list[str]:
    return list(system.partitions(Stage.ORIGINAL))


def count_of_runs(system: System) -> int:
    return len(system.instance.get_run_ids(dg.RunsFilter(job_name="ingest")))


def test_a_pruned_partition_comes_back_with_a_new_message(system: System) -> None:
    """The ledger keeps the state of the image meanwhile."""
    ingest(system, OTHER)
    assert enforce_retention(system)["partitions: pruned"] == 2
    assert shown(system) == []
    assert system.states() == {PAGE: "done", OTHER: "done"}
    ingest(system, PAGE)
    assert shown(system) == [PAGE]
    assert system.partition(PAGE) == ("materialized",) * 3
    assert len(system.instance.fetch_materializations(system.catalog.asset(Stage.ORIGINAL), limit=9).records) == 3


def test_a_partition_key_that_comes_back_has_its_state_of_before(system: System) -> None:
    """Dagster keeps the materialisations of a partition whose key was removed."""
    enforce_retention(system)
    system.instance.add_dynamic_partitions(system.catalog.partitions_name, [key_of(PAGE)])
    assert system.partition(PAGE) == ("materialized",) * 3


def test_an_image_within_the_window_stays(system: System) -> None:
    system.use(partition_window=NEVER)
    assert enforce_retention(system)["partitions: kept"] == 1
    assert shown(system) == [PAGE]


def test_beyond_the_number_of_keys_the_longest_quiet_leave(system: System) -> None:
    ingest(system, OTHER)
    system.use(partition_window=NEVER, partition_keys=1)
    enforce_retention(system)
    assert shown(system) == [OTHER]


def test_too_many_keys_leave_before_the_night(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each tick some of them, once there are enough to be worth the reading; first those that are no image's."""
    system.use(partition_window=NEVER, partition_keys=1)
    monkeypatch.setattr(keys, "SURPLUS", 2)
    ingest(system, OTHER)
    assert system.skip_reason("reconcile") == "All is well"
    assert shown(system) == [PAGE, OTHER]
    system.instance.add_dynamic_partitions(system.catalog.partitions_name, [key_of(LAST)])
    assert system.skip_reason("reconcile") == "All is well; 2 quiet images left Dagster's partitions"
    assert shown(system) == [OTHER]


def test_an_image_that_is_asked_for_stays(system: System) -> None:
    system.send(full_message(PAGE, system.serve("page.jpg", jpeg(120, 90)), "file"))
    system.tick("sqs_ingest", run=False)
    assert enforce_retention(system)["partitions: pruned"] == 0
    assert shown(system) == [PAGE]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_key_of_a_run_that_has_not_ended_stays_until_it_has(system: System, status: dg.DagsterRunStatus) -> None:
    job = system.definitions.resolve_job_def("ingest")
    run = system.instance.create_run_for_job(job, tags={"dagster/partition": key_of(PAGE)}, status=status)
    assert enforce_retention(system)["partitions: pruned"] == 0
    assert shown(system) == [PAGE]
    system.instance.report_run_failed(run)
    assert enforce_retention(system)["partitions: pruned"] == 1


@pytest.mark.parametrize("status", [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
def test_a_key_of_a_backfill_is_kept_until_the_backfill_ends(system: System, status: BulkActionStatus) -> None:
    ingest(system, OTHER)
    targets = {AssetKeyPartitionKey(system.catalog.asset(stage), key_of(PAGE)) for stage in STAGES}
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id="backfill",
        backfill_timestamp=0.0,
        tags={},
        dynamic_partitions_store=system.instance,
        asset_graph_subset=AssetGraphSubset.from_asset_partition_set(targets, system.definitions.resolve_asset_graph()),
        title=None,
        description=None,
        run_config=None,
    )
    system.instance.add_backfill(backfill._replace(status=status))
    enforce_retention(system)
    assert shown(system) == [PAGE]
    system.instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_SUCCESS))
    enforce_retention(system)
    assert shown(system) == []


def test_keys_that_no_registered_image_has_leave(system: System) -> None:
    system.use(partition_window=NEVER)
    system.instance.add_dynamic_partitions(system.catalog.partitions_name, [key_of("2/1/unheard-of"), "no key of ours"])
    assert enforce_retention(system)["partitions: pruned"] == 2
    assert shown(system) == [PAGE]


def test_a_dry_run_reports_what_would_go_and_deletes_nothing(system: System) -> None:
    system.use(run_retention=AT_ONCE)
    summary = enforce_retention(system, dry_run=True)
    assert (summary["dry run"], summary["partitions: pruned"], summary["runs: kept for their partitions"]) == (
        True,
        1,
        1,
    )
    assert shown(system) == [PAGE]
    assert enforce_retention(system)["partitions: pruned"] == 1


def test_a_run_is_kept_while_a_partition_has_its_state_from_it(system: System) -> None:
    """With a run Dagster deletes its materialisations, and with the last of them the partition's state."""
    system.send(full_message(OTHER, f"{system.origin.url}/missing.jpg", "file"))
    system.settle()
    assert count_of_runs(system) == 2
    before = {image: system.partition(image) for image in (PAGE, OTHER)}
    assert "failed" in before[OTHER]
    system.use(partition_window=NEVER, run_retention=AT_ONCE)
    assert enforce_retention(system)["runs: kept for their partitions"] == 2
    system.instance.add_dynamic_partitions(
        system.catalog.partitions_name, [key_of("2/1/new")]
    )  # Dagster works the states out again
    assert {image: system.partition(image) for image in (PAGE, OTHER)} == before


@pytest.mark.parametrize("dagster_in_memory", [False])
def test_a_superseded_run_is_deleted_with_its_files(system: System) -> None:
    """All its images were ingested again by later runs."""
    (first,) = system.instance.get_run_ids()
    ingest(system, PAGE)
    system.use(partition_window=NEVER, run_retention=AT_ONCE)
    shards = Path(system.instance.root_directory) / "history" / "runs"
    assert list(shards.glob(f"{first}*"))
    assert enforce_retention(system)["runs: deleted"] == 1
    assert count_of_runs(system) == 1
    assert not list(shards.glob(f"{first}*"))
    assert system.partition(PAGE) == ("materialized",) * 3


def test_an_image_whose_run_was_deleted_can_be_ingested_again(system: System) -> None:
    """Its partition is materialised again."""
    system.use(run_retention=AT_ONCE)
    assert enforce_retention(system)["runs: deleted"] == 1
    assert count_of_runs(system) == 0
    ingest(system, PAGE)
    assert system.partition(PAGE) == ("materialized",) * 3


def test_an_image_back_for_one_stage_has_all_stages_reported(system: System) -> None:
    """Its run is gone, and with it what Dagster knew; the ledger knows it still."""
    system.use(run_retention=AT_ONCE)
    enforce_retention(system)
    wanted = [(AssetId.parse(PAGE), frozenset({Stage.THUMBNAILS}))]
    system.ledger.registrations.request(wanted, lane=Lane.BACKFILL, now=datetime.now(UTC))
    system.settle()
    assert count_of_runs(system) == 1
    assert system.partition(PAGE) == ("materialized",) * 3


def test_a_failed_maintenance_step_is_named_and_stops_no_other(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old runs are deleted although the partitions could not be pruned."""
    monkeypatch.setattr(keys, "PATIENCE", timedelta(0))
    ingest(system, PAGE)
    system.use(run_retention=AT_ONCE)
    with system.ledger.dispatch.lease(DISPATCH_LEASE):
        run = system.execute_job("maintenance", "enforce_retention", {})
    assert run.status is dg.DagsterRunStatus.FAILURE
    said, _ = system.failure_of(run)
    assert "Maintenance failed of partitions (DispatchBusyError: " in said
    assert count_of_runs(system) == 1
    assert shown(system) == [PAGE]


def test_it_runs_every_night_from_the_start(system: System) -> None:
    schedules = {each.job_name: each for each in system.definitions.get_repository_def().schedule_defs}
    assert schedules["maintenance"].cron_schedule == "0 3 * * *"
    assert schedules["maintenance"].default_status is dg.DefaultScheduleStatus.RUNNING


def test_an_invalid_cron_line_is_refused_naming_its_setting() -> None:
    """It is found when the definitions are built, not when the schedule would be due."""
    with pytest.raises(ValueError, match=r"DLCS_MAINTENANCE_CRON is no cron line: 'nightly'"):
        build_definitions(Settings(maintenance_cron="nightly"))
