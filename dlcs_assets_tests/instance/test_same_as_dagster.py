"""Our history holds and tells what Dagster's own does, and each reads what the other wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dlcs_assets_tests.instance.runs import BAD, KEYS, run_all, told
from dlcs_testing import postgresql
from dlcs_testing.instances import dagsters_at, dagsters_in, instance_with, ours_at, ours_in

Pair = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


@pytest.fixture(params=["one by one", "in batches"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "300" if request.param == "in batches" else "0")


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Return our storage, Dagster's on the same files or database, and Dagster's on others."""
    if request.param == "sqlite":
        folder = tmp_path / "history"
        return ours_in(folder), dagsters_in(folder), dagsters_in(tmp_path / "other")
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    url = server.new_database()
    return ours_at(url), dagsters_at(url), dagsters_at(server.new_database())


def of_a_run(storage: dict[str, Any], folder: Path) -> dict[str, Any]:
    with instance_with(storage, folder) as instance:
        return told(instance, run_all(instance))


@pytest.mark.usefixtures("batches")
def test_our_storage_returns_of_a_run_what_that_of_dagster_does(pair: Pair, tmp_path: Path) -> None:
    """The same run in both: events, failures and planned partitions must be equal."""
    ours, _, other = pair
    of_ours, of_dagsters = of_a_run(ours, tmp_path / "ours"), of_a_run(other, tmp_path / "dagsters")
    assert of_ours == of_dagsters
    assert set(of_ours["failed"]) == {BAD}
    assert set(of_ours["planned"]) == set(KEYS)


@pytest.mark.usefixtures("batches")
def test_the_storage_of_dagster_reads_what_ours_wrote(pair: Pair, tmp_path: Path) -> None:
    """An installation must be able to go back to Dagster's own storage with its history."""
    ours, same, _ = pair
    with instance_with(ours, tmp_path / "ours") as instance:
        run_id = run_all(instance)
        before = told(instance, run_id)
    with instance_with(same, tmp_path / "dagsters") as instance:
        assert told(instance, run_id) == before


def test_our_storage_continues_a_history_that_dagster_wrote(pair: Pair, tmp_path: Path) -> None:
    """An installation with a history in Dagster's own storage keeps it, and new runs are added."""
    ours, same, _ = pair
    with instance_with(same, tmp_path / "dagsters") as instance:
        run_id = run_all(instance)
        before = told(instance, run_id)
    with instance_with(ours, tmp_path / "ours") as instance:
        assert told(instance, run_id) == before
        again = run_all(instance)
        assert told(instance, again)["materialised"] == before["materialised"]
        assert instance.get_runs_count() == 2


def test_a_deleted_run_is_gone_and_a_wiped_history_is_empty(pair: Pair, tmp_path: Path) -> None:
    ours, _, _ = pair
    with instance_with(ours, tmp_path / "ours") as instance:
        first, second = run_all(instance), run_all(instance)
        instance.delete_run(first)
        assert instance.get_run_by_id(first) is None
        assert list(instance.all_logs(first)) == []
        assert told(instance, second)["run"][0] is dg.DagsterRunStatus.FAILURE
        instance.wipe()
        assert instance.get_runs_count() == 0
        assert instance.get_asset_keys() == []
        third = run_all(instance)
        assert told(instance, third)["run"][0] is dg.DagsterRunStatus.FAILURE
