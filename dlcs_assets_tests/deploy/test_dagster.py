"""Dagster's settings for containers: Dagster takes them, and they differ from the checkout's only where they must."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped] # it has no types
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.load_target import WorkspaceFileTarget

from dlcs_assets.definitions import build_definitions
from dlcs_assets.instance.postgres import PooledPostgresStorage
from dlcs_assets.instance.run_queue import lane_limits
from dlcs_assets.settings import Settings
from dlcs_assets_tests.deploy.files import DEPLOY, load_named

FOR_AWS = DEPLOY / "dagster" / "dagster.yaml"
FOR_COMPOSE = DEPLOY / "dagster" / "compose" / "dagster.yaml"
CHECKOUT = DEPLOY.parent / "dagster.yaml"
OWN = {"storage", "run_launcher", "compute_logs", "run_monitoring"}
AWS_OWN = {*OWN, "run_coordinator", "concurrency"}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the task definition of the daemon sets."""
    (container,) = load_named("ecs/daemon.json")["containerDefinitions"]
    for each in container["environment"]:
        monkeypatch.setenv(each["name"], each["value"])
    for each in container["secrets"]:
        monkeypatch.setenv(each["name"], "password")


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield boto3.client("ecs")
    server.stop()


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", [FOR_AWS, FOR_COMPOSE], ids=["aws", "compose"])
def test_dagster_takes_the_settings(path: Path) -> None:
    config, _ = dagster_instance_config(str(path.parent))
    storage = config["storage"]["custom"]
    assert (storage["module"], storage["class"]) == (PooledPostgresStorage.__module__, PooledPostgresStorage.__name__)
    database = storage["config"]["postgres_db"]
    assert database["scheme"] == "postgresql+psycopg2"
    assert database["hostname"]


@pytest.mark.parametrize(("path", "own"), [(FOR_AWS, AWS_OWN), (FOR_COMPOSE, OWN)], ids=["aws", "compose"])
def test_what_is_not_about_containers_is_as_in_the_checkout(path: Path, own: set[str]) -> None:
    ours, theirs = read(path), read(CHECKOUT)
    assert {name: ours[name] for name in ours if name not in own} == {
        name: theirs[name] for name in theirs if name not in own
    }


def test_the_queue_on_aws_has_one_number_of_its_own() -> None:
    ours, theirs = read(FOR_AWS)["run_coordinator"], read(CHECKOUT)["run_coordinator"]
    assert ours["config"].pop("runs_in_flight") == {"env": "DAGSTER_RUNS_IN_FLIGHT"}
    assert ours["config"] == theirs["config"]


@pytest.mark.parametrize(("runs", "lane", "backfill"), [(1, 1, 1), (2, 1, 1), (4, 3, 2), (16, 12, 8), (64, 48, 32)])
def test_all_limits_of_the_queue_follow_from_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int, lane: int, backfill: int
) -> None:
    """With the history in SQLite, and Dagster's own launcher: the queue is what AWS gets."""
    monkeypatch.setenv("DAGSTER_RUNS_IN_FLIGHT", str(runs))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_coordinator": read(FOR_AWS)["run_coordinator"]}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == runs
        assert [each["limit"] for each in queue.tag_concurrency_limits] == [lane, backfill, backfill]
        assert (queue.max_user_code_failure_retries, queue.user_code_failure_retry_delay) == (90, 20)


def test_four_runs_have_the_limits_of_the_checkout() -> None:
    assert lane_limits(4) == read(CHECKOUT)["concurrency"]["runs"]["tag_concurrency_limits"]


def test_small_jobs_are_all_jobs_that_convert_nothing() -> None:
    jobs = {job.name for job in build_definitions(Settings()).resolve_all_job_defs() if not job.name.startswith("__")}
    assert set(read(FOR_AWS)["run_launcher"]["config"]["small_jobs"]) == jobs - {"ingest"}


def test_a_run_that_never_starts_or_never_ends_is_noticed_on_aws() -> None:
    monitoring = read(FOR_AWS)["run_monitoring"]
    assert monitoring["enabled"]
    assert monitoring["start_timeout_seconds"] == 600
    assert monitoring["max_runtime_seconds"] == 6 * 3600


def test_the_launcher_finds_the_run_in_the_task_definition(ecs: Any, tmp_path: Path) -> None:
    """With the history in SQLite: everything else is what AWS gets."""
    ecs.register_task_definition(**load_named("ecs/run.json"))
    settings = read(FOR_AWS)
    del settings["storage"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher: Any = instance.run_launcher
        assert type(launcher).__name__ == "PatientEcsRunLauncher"
        assert "task-definition/dlcs-run:" in launcher.task_definition
        assert launcher.container_name == "run"
        assert launcher.secrets_tags == []


def test_the_workspace_leads_to_the_code_server(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "dagster" / "workspace.yaml", tmp_path)
    (origin,) = WorkspaceFileTarget([str(tmp_path / "workspace.yaml")]).create_origins()
    (code_server,) = load_named("ecs/code-server.json")["containerDefinitions"]
    assert origin.location_name == "dlcs-assets"
    assert origin.port == code_server["portMappings"][0]["containerPort"]  # type: ignore[attr-defined] # a gRPC server's
    assert origin.host == "code-server.dlcs.internal"  # type: ignore[attr-defined] # as above
