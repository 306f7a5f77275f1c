"""The pooled storage holds and returns what Dagster's own does, and each reads what the other wrote.

These tests say when Dagster's storages change: the pooled one rests on private names of theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dlcs_assets_tests.instance.run_over_partitions import FAILING, KEYS, run_all, shown
from dlcs_testing import postgresql
from dlcs_testing.instances import dagster_storage, instance_with, pooled_storage


@pytest.fixture(params=["one by one", "in batches"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "300" if request.param == "in batches" else "0")


@pytest.fixture
def url(postgresql_server: postgresql.Server) -> str:
    return postgresql_server.new_database()


def shown_after_a_run(storage: dict[str, Any], folder: Path) -> dict[str, Any]:
    with instance_with(storage, folder) as instance:
        return shown(instance, run_all(instance))


@pytest.mark.usefixtures("batches")
def test_the_ui_shows_the_same_of_a_run_as_with_dagsters_own(
    url: str, postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    pooled = shown_after_a_run(pooled_storage(url), tmp_path / "pooled")
    dagsters = shown_after_a_run(dagster_storage(postgresql_server.new_database()), tmp_path / "dagsters")
    assert pooled == dagsters
    assert set(pooled["failed"]) == {FAILING}
    assert set(pooled["planned"]) == set(KEYS)


@pytest.mark.usefixtures("batches")
def test_dagsters_own_storage_reads_what_the_pooled_one_wrote(url: str, tmp_path: Path) -> None:
    with instance_with(pooled_storage(url), tmp_path / "pooled") as instance:
        run_id = run_all(instance)
        before = shown(instance, run_id)
    with instance_with(dagster_storage(url), tmp_path / "dagsters") as instance:
        assert shown(instance, run_id) == before


def test_the_pooled_storage_continues_what_dagsters_own_began(url: str, tmp_path: Path) -> None:
    with instance_with(dagster_storage(url), tmp_path / "dagsters") as instance:
        run_id = run_all(instance)
        before = shown(instance, run_id)
    with instance_with(pooled_storage(url), tmp_path / "pooled") as instance:
        assert shown(instance, run_id) == before
        again = run_all(instance)
        assert shown(instance, again)["materialised"] == before["materialised"]
        assert instance.get_runs_count() == 2


def test_a_deleted_run_is_gone_and_a_wiped_storage_empty(url: str, tmp_path: Path) -> None:
    with instance_with(pooled_storage(url), tmp_path / "pooled") as instance:
        first, second = run_all(instance), run_all(instance)
        instance.delete_run(first)
        assert instance.get_run_by_id(first) is None
        assert list(instance.all_logs(first)) == []
        assert shown(instance, second)["run"][0] is dg.DagsterRunStatus.FAILURE
        instance.wipe()
        assert instance.get_runs_count() == 0
        assert instance.get_asset_keys() == []
        third = run_all(instance)
        assert shown(instance, third)["run"][0] is dg.DagsterRunStatus.FAILURE
