"""Images reprocessed by the job that a person launches from the launchpad."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from dlcs_assets.defs.own_backfills import OwnBackfill, newest
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_testing.harness import System, key_of
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    return make_system(customers=(2, 12), default_thumbnail_sizes=("!20,20",))


def ingest_small(system: System, *images: str) -> None:
    url = system.serve("page.jpg", jpeg(90, 60))
    system.send(*(full_message(image, url) for image in images))
    system.settle()
    assert set(system.states().values()) == {"done"}


def test_the_job_reports_an_estimate_before_it_reprocesses(system: System) -> None:
    """Unless its config says otherwise, it is a dry run and makes no request."""
    ingest_small(system, "2/1/a", "2/2/b", "12/1/c")
    config = {"customer": 2, "space": 1, "stage": "JP2"}
    dry = system.execute_job("reprocess_images", "request_reprocessing", config)
    assert "1 image would be reprocessed: 1 jp2, 1 thumbnails." in system.log_of(dry)
    assert system.settle() == []
    system.execute_job("reprocess_images", "request_reprocessing", {**config, "dry_run": False})
    (run,) = system.settle()
    assert (run.tags["dlcs/customer"], run.tags["dlcs/backfill"]) == ("2", "1")
    events = system.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = {event.dagster_event.asset_key for event in events if event.dagster_event}
    assert made == {system.catalog.asset(Stage.JP2), system.catalog.asset(Stage.THUMBNAILS)}


def test_a_backfill_that_matches_nothing_says_so(system: System) -> None:
    ingest_small(system, "2/1/a")
    run = system.execute_job("reprocess_images", "request_reprocessing", {"customer": 2, "space": 7})
    assert "No images match" in system.log_of(run)


def test_the_job_gives_its_backfill_a_number(system: System) -> None:
    """The job's own run carries it, too, and is on record as having asked; runs of two backfills are apart."""
    ingest_small(system, "2/1/a", "2/1/b", "12/1/c")
    config = {"every_customer": True, "match": "[ac]", "dry_run": False}
    job = system.execute_job("reprocess_images", "request_reprocessing", config)
    system.ledger.backfills.request(
        system.ledger.backfills.begin({"customer": 2}, asked_by="a test", now=datetime.now(UTC)),
        [(AssetId.parse("2/1/b"), frozenset(STAGES))],
        now=datetime.now(UTC),
    )
    run = system.instance.get_run_by_id(job.run_id)
    assert run is not None
    assert run.tags["dlcs/backfill"] == "1"
    runs = system.settle()
    assert sorted((each.tags["dlcs/customer"], each.tags["dlcs/backfill"]) for each in runs) == [
        ("12", "1"),
        ("2", "1"),
        ("2", "2"),
    ]
    ended = system.ledger.backfills.find(1)
    assert ended is not None
    assert (ended.standing, ended.done, ended.selection) == ("finished", 2, "--every-customer --match '[ac]'")
    assert ended.asked_by == f"run {job.run_id} of reprocess_images"


@pytest.mark.parametrize("whose", [{}, {"customer": 2, "every_customer": True}])
def test_the_job_has_to_know_whose_images(system: System, whose: dict[str, Any]) -> None:
    run = system.execute_job("reprocess_images", "request_reprocessing", whose)
    assert system.failure_of(run)[0].startswith("Whose images?")


def test_a_cancelled_backfill_launches_nothing_more(system: System) -> None:
    ingest_small(system, "2/1/a", "2/1/b")
    config = {"customer": 2, "dry_run": False}
    system.execute_job("reprocess_images", "request_reprocessing", config)
    assert system.ledger.backfills.cancel(1, now=datetime.now(UTC)) == 2
    assert "Backfill 1 has ended: 2 images = 0 done + 0 failed + 2 cancelled" in system.skip_reason("backfills")
    assert system.settle() == []
    assert system.partitions(Stage.JP2) == {"2/1/a": "materialized", "2/1/b": "materialized"}


def test_backfills_of_dagster_are_read_from_its_instance(system: System) -> None:
    ingest_small(system, "2/1/a", "2/1/b")
    graph = system.definitions.resolve_asset_graph()

    def part(*images: str) -> AssetGraphSubset:
        keys = {AssetKeyPartitionKey(system.catalog.asset(stage), key_of(each)) for stage in STAGES for each in images}
        return AssetGraphSubset.from_asset_partition_set(keys, graph)

    launched = PartitionBackfill.from_asset_graph_subset(
        backfill_id="launched",
        backfill_timestamp=60.0,
        tags={},
        dynamic_partitions_store=system.instance,
        asset_graph_subset=part("2/1/a", "2/1/b"),
        title=None,
        description=None,
        run_config=None,
    )
    assert launched.asset_backfill_data is not None
    data = launched.asset_backfill_data._replace(materialized_subset=part("2/1/a"))
    system.instance.add_backfill(launched._replace(asset_backfill_data=data))
    begun = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    (seen,) = newest(system.instance, system.catalog, limit=5)
    assert seen == OwnBackfill("launched", "requested", begun, None, 2, 50, 0)
    data = data._replace(failed_and_downstream_subset=part("2/1/b"))
    ended = launched.with_status(BulkActionStatus.COMPLETED_FAILED).with_end_timestamp(60.0)
    system.instance.update_backfill(ended._replace(asset_backfill_data=data))
    (seen,) = newest(system.instance, system.catalog, limit=5)
    assert seen == OwnBackfill("launched", "completed failed", begun, begun, 2, 100, 1)
