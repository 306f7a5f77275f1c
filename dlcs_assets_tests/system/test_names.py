"""How assets are named in Dagster: an upgrade from names without a prefix, and installations that share an instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.jobs.prune_runs import delete_old_runs
from dlcs_assets.domain import partition_key
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System, full_message, key_of
from dlcs_testing.pictures import jpeg

PAGES = ("2/1/a", "2/1/b", "2/1/c")
ALL = ("materialized",) * 3
NONE = ("missing",) * 3


@pytest.fixture
def system(services: RunningStack, tmp_path: Path) -> Iterator[System]:
    """An installation whose Dagster has its history in files."""
    with running_system(services, tmp_path, dagster_in_memory=False) as system:
        yield system


@pytest.fixture
def upgraded(system: System) -> System:
    """An installation whose images were ingested while assets had no prefix, and that runs today's code since."""
    with pytest.MonkeyPatch.context() as before:
        before.setattr(Catalog, "asset", lambda _, stage: dg.AssetKey(stage.value))
        page = system.serve("page.jpg", jpeg(60, 40))
        system.send(*(full_message(image, page, "file") for image in PAGES))
        assert all(run.is_success for run in system.settle())
        assert system.partition(PAGES[0]) == ALL
        system.use()
    system.cursors.clear()
    return system


def test_after_an_upgrade_images_are_shown_under_new_names(upgraded: System) -> None:
    assert upgraded.partition(PAGES[0]) == NONE
    assert upgraded.skip_reason("reconcile") == f"{3 * len(PAGES)} outcomes reported to Dagster"
    assert [upgraded.partition(image) for image in PAGES] == [ALL] * len(PAGES)
    assert upgraded.metadata(PAGES[0], Stage.ORIGINAL)["outcome"] == "kept"
    assert upgraded.skip_reason("reconcile") == "All is well"


def test_images_that_are_no_partitions_stay_out_of_dagster(upgraded: System) -> None:
    """The ledger has them all; Dagster is to have a working set of them."""
    upgraded.instance.delete_dynamic_partition(upgraded.catalog.partitions_name, key_of(PAGES[0]))
    assert upgraded.skip_reason("reconcile") == f"{3 * (len(PAGES) - 1)} outcomes reported to Dagster"
    assert not upgraded.instance.has_dynamic_partition(upgraded.catalog.partitions_name, key_of(PAGES[0]))


def test_after_an_upgrade_partitions_have_todays_keys(system: System) -> None:
    """Those of before begin with a slash. They show what they showed until maintenance takes them out."""
    former = [f"/{image}" for image in PAGES]
    with pytest.MonkeyPatch.context() as before:
        before.setattr(partition_key, "MARK", "/")
        page = system.serve("page.jpg", jpeg(60, 40))
        system.send(*(full_message(image, page, "file") for image in PAGES))
        assert all(run.is_success for run in system.settle())
        assert sorted(system.instance.get_dynamic_partitions(system.catalog.partitions_name)) == former
    system.cursors.clear()
    assert system.skip_reason("reconcile") == f"{3 * len(PAGES)} outcomes reported to Dagster"
    assert system.execute_job("maintenance").is_success
    assert sorted(system.instance.get_dynamic_partitions(system.catalog.partitions_name)) == [
        f"@{image}" for image in PAGES
    ]
    assert [system.partition(image) for image in PAGES] == [ALL] * len(PAGES)


def test_runs_of_before_the_upgrade_are_waited_for(upgraded: System) -> None:
    """They report their outcomes under the names of before, and the ledger notes them as reported."""
    former = {dg.AssetKey(stage.value) for stage in STAGES}
    run = dg.DagsterRun("ingest", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset(former))
    upgraded.instance.add_run(run)
    assert upgraded.skip_reason("reconcile") == "All is well"
    upgraded.end_dead(run.run_id)
    assert upgraded.skip_reason("reconcile") == f"{3 * len(PAGES)} outcomes reported to Dagster"


def test_installations_with_prefixes_share_an_instance(system: System, services: RunningStack, tmp_path: Path) -> None:
    """Each has assets and partitions of its own, and neither ends, deletes or prunes what is the other's."""
    (tmp_path / "other").mkdir()
    quiet = timedelta(0)
    with running_system(services, tmp_path / "other", asset_key_prefix="other", partition_window=quiet) as other:
        other.instance = system.instance
        for each in (system, other):
            each.ingest(PAGES[0], each.serve("page.jpg", jpeg(60, 40)), "file")
            assert each.partition(PAGES[0]) == ALL
        system.send(full_message(PAGES[1], system.serve("page.jpg", jpeg(60, 40)), "file"))
        result = system.evaluate("sqs_ingest")
        assert isinstance(result, dg.SensorResult)
        (request,) = result.run_requests or ()
        started = system.begin(request)

        other.use(claim_ttl=timedelta(0))
        assert other.skip_reason("reconcile") == "All is well"
        run = other.execute_job("maintenance")
        assert run.is_success
        assert list(other.instance.get_dynamic_partitions(other.catalog.partitions_name)) == []

        assert system.partition(PAGES[0]) == ALL
        unfinished = system.instance.get_run_by_id(started)
        assert unfinished is not None
        assert unfinished.status is dg.DagsterRunStatus.STARTED


def test_old_runs_over_anothers_assets_stay() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ours, theirs = (
            instance.add_run(
                dg.DagsterRun(
                    "ingest",
                    status=dg.DagsterRunStatus.SUCCESS,
                    asset_selection=frozenset({Catalog(prefix).asset(Stage.JP2)}),
                )
            )
            for prefix in ("dlcs", "other")
        )
        later = datetime.now(UTC) + timedelta(hours=1)
        assert delete_old_runs(instance, Catalog("dlcs"), before=later)["deleted"] == 1
        assert instance.get_run_by_id(ours.run_id) is None
        assert instance.get_run_by_id(theirs.run_id) is not None


class RefusingLogs(NoOpComputeLogManager):
    """A store of logs that fails at the first run that it is asked for, each time."""

    refused: ClassVar[set[str]] = set()

    def delete_logs(self, log_key: object = None, prefix: Sequence[str] | None = None) -> None:  # noqa: ARG002 (its signature)
        """Refuse the first."""
        assert prefix is not None
        self.refused.update(prefix if not self.refused else ())
        if self.refused.intersection(prefix):
            raise OSError("the bucket of logs does not answer")


def test_a_run_whose_logs_stay_keeps_no_other_from_being_deleted(tmp_path: Path) -> None:
    """It stays itself, so that its logs are found again the next night."""
    logs = {"module": __name__, "class": "RefusingLogs"}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"compute_logs": logs}) as instance:
        asset = frozenset({Catalog("dlcs").asset(Stage.JP2)})
        status = dg.DagsterRunStatus.SUCCESS
        runs = [instance.add_run(dg.DagsterRun("ingest", status=status, asset_selection=asset)) for _ in range(3)]
        later = datetime.now(UTC) + timedelta(hours=1)
        with pytest.raises(OSError, match="does not answer"):
            delete_old_runs(instance, Catalog("dlcs"), before=later)
        assert {run.run_id for run in runs if instance.get_run_by_id(run.run_id)} == RefusingLogs.refused
