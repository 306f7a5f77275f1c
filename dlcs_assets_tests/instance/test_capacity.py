"""Runs that cannot be started wait in Dagster's queue: with Dagster's own daemon, real forks, and ECS's own answers."""

from __future__ import annotations

import json
import os
import resource
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import yaml  # type: ignore[import-untyped] # it has no types
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from dlcs_assets.defs import tags
from dlcs_assets_tests.deploy.files import DEPLOY, load_named
from dlcs_testing.http_serving import Answer, serving
from dlcs_testing.queued_job import queued_job, queued_run
from dlcs_testing.waiting import eventually

CHECKOUT = DEPLOY.parent / "dagster.yaml"
FOR_AWS = DEPLOY / "dagster" / "dagster.yaml"
FOR_COMPOSE = DEPLOY / "dagster" / "compose" / "dagster.yaml"
RUN_TASK = "AmazonEC2ContainerServiceV20141113.RunTask"
INSTANCE = "arn:aws:ecs:eu-west-1:123456789012:container-instance/1"
DELAY = 20


@contextmanager
def instance_of(settings: dict[str, Any], folder: Path, **changes: Any) -> Iterator[dg.DagsterInstance]:
    """Make an instance as one of our own dagster.yaml says, with its history in files."""
    settings = {**settings, "telemetry": {"enabled": False}}
    settings.pop("storage", None)
    settings["run_coordinator"]["config"] |= {"dequeue_use_threads": False, **changes}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


class Daemon:
    """Dagster's daemon that takes runs from the queue. Its time is given: a pause need not be waited for."""

    def __init__(self, instance: dg.DagsterInstance, workspace: Any) -> None:
        self._instance = instance
        self._workspace = workspace
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self.now = time.time()

    def turn(self, seconds: float = DELAY + 1) -> None:
        """Let it take what it may from the queue, so many seconds after the last time."""
        self.now += seconds
        list(self._daemon.run_iteration(self._workspace, fixed_iteration_time=self.now))


@contextmanager
def daemon(instance: dg.DagsterInstance) -> Iterator[Daemon]:
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        yield Daemon(instance, workspace)


def status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def log(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.message for entry in instance.all_logs(run_id))


# Forks


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_of(read(CHECKOUT), tmp_path) as instance:
        yield instance


def fork_server() -> int:
    """Return the process of the fork server, which the last launch started or found."""
    return int(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined] # of the standard library


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        (resource.RLIMIT_NOFILE, 8),
        pytest.param(
            *(resource.RLIMIT_NPROC, 0), marks=pytest.mark.skipif(os.getuid() == 0, reason="root has no such limit")
        ),
    ],
    ids=["files", "processes"],
)
def test_a_run_that_cannot_be_forked_waits_in_the_queue(forks: dg.DagsterInstance, limit: int, number: int) -> None:
    """The kernel refuses the fork server what a fork needs; the daemon sees no more of that than its end."""
    with daemon(forks) as dequeuing:
        first = queued_run(forks)
        dequeuing.turn()
        eventually(lambda: status(forks, first), lambda found: found == "SUCCESS")
        server = psutil.Process(fork_server())
        resource.prlimit(server.pid, limit, (number, number))
        waiting = [queued_run(forks) for _ in range(3)]
        dequeuing.turn()
        assert [status(forks, each) for each in waiting] == ["QUEUED"] * 3
        run = forks.get_run_by_id(waiting[0])
        assert run is not None
        assert "the fork server ended" in run.tags[tags.WAITS_FOR]
        assert "The run cannot be started now, and is tried again automatically: machine " in log(forks, waiting[0])
        dequeuing.turn(1)  # a pause
        assert [status(forks, each) for each in waiting] == ["QUEUED"] * 3
        eventually(lambda: server.status() == psutil.STATUS_ZOMBIE)  # it is replaced when this process sees that
        dequeuing.turn()
        eventually(lambda: {status(forks, each) for each in waiting}, lambda found: found == {"SUCCESS"})


# ECS


@dataclass
class Ecs:
    """ECS as moto has it, but for RunTask, which answers what a test says."""

    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    calls: int = 0
    target: str = ""
    asked: dict[str, Any] = field(default_factory=dict)  # the last RunTask

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("x-amz-target") == RUN_TASK:
            self.calls += 1
            self.asked = json.loads(body)
            status, said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if status == 0:
                raise ConnectionError
            return Answer(status, json.dumps(said).encode(), {"Content-Type": "application/x-amz-json-1.1"})
        request = urllib.request.Request(f"{self.target}{path}", body or None, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return Answer(answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"]})


def refused(code: str, message: str, status: int = 400) -> tuple[int, dict[str, Any]]:
    """Return an error as ECS sends it."""
    return status, {"__type": code, "message": message}


def no_task(**failure: str) -> tuple[int, dict[str, Any]]:
    """Return the answer of a RunTask that started none."""
    return 200, {"tasks": [], "failures": [failure]}


NO_ANSWER: tuple[int, dict[str, Any]] = (0, {})
STARTED: tuple[int, dict[str, Any]] = (
    200,
    {
        "tasks": [
            {
                "taskArn": "arn:aws:ecs:eu-west-1:123456789012:task/dlcs/1",
                "clusterArn": "arn:aws:ecs:eu-west-1:123456789012:cluster/dlcs",
                "lastStatus": "PROVISIONING",
            }
        ],
        "failures": [],
    },
)
CAPACITY = {
    "memory": no_task(arn=INSTANCE, reason="RESOURCE:MEMORY"),
    "cpu": no_task(arn=INSTANCE, reason="RESOURCE:CPU"),
    "fargate": no_task(reason="Capacity is unavailable at this time. Please try again later"),
    "agent": no_task(arn=INSTANCE, reason="AGENT"),
    "empty provider": no_task(reason="EMPTY CAPACITY PROVIDER"),
    "no instances": refused("InvalidParameterException", "No Container Instances were found in your cluster."),
    "throttled": refused("ThrottlingException", "Rate exceeded"),
    "throttled below": refused("InvalidParameterException", "Error retrieving subnet: Throttling: Rate exceeded"),
    "tasks": refused("ClientException", "You've reached the limit on the number of tasks you can run concurrently"),
    "vcpus": refused("ClientException", "You've reached the limit on the number of vCPUs you can run concurrently"),
    "fault": refused("ServerException", "Service Unavailable. Please try again later.", 500),
}
MISTAKES = {
    "right": refused("AccessDeniedException", "User is not authorized to perform: ecs:RunTask"),
    "definition": refused("ClientException", "TaskDefinition is inactive"),
    "attribute": no_task(arn=INSTANCE, reason="ATTRIBUTE"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ecs, dg.DagsterInstance]]:
    import boto3
    from moto.server import ThreadedMotoServer

    settings = read(FOR_AWS)
    # Of the daemon's own task there is none here; and it is named where the cluster is.
    settings["run_launcher"]["config"] |= {
        "use_current_ecs_task_config": False,
        "run_task_kwargs": {"cluster": "dlcs", "launchType": "EC2"},
    }
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    ecs = Ecs(target=f"http://{host}:{port}")
    with serving(ecs.answer) as url, pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_MAX_ATTEMPTS": "1",
            "RUN_TASK_RETRIES": "0",  # Dagster's launcher waits three seconds for these
            "DAGSTER_RUN_TASK_DEFINITION": "dlcs-run",
            "DAGSTER_SMALL_RUN_TASK_DEFINITION": "dlcs-small-run",
            "DAGSTER_RUN_CAPACITY": "FARGATE_SPOT",
            "DAGSTER_RUNS_IN_FLIGHT": "4",
        }.items():
            environment.setenv(name, value)
        boto3.client("ecs").register_task_definition(**load_named("ecs/run.json"))
        with instance_of(settings, tmp_path_factory.mktemp("ecs")) as instance:
            yield ecs, instance
    server.stop()


@pytest.fixture
def ecs(cluster: tuple[Ecs, dg.DagsterInstance]) -> Ecs:
    cluster[0].calls = 0
    return cluster[0]


@pytest.fixture
def tasks(cluster: tuple[Ecs, dg.DagsterInstance]) -> Iterator[dg.DagsterInstance]:
    instance = cluster[1]
    yield instance
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING])):
        instance.report_run_canceled(run)


@pytest.mark.parametrize("answer", CAPACITY.values(), ids=CAPACITY)
def test_a_task_without_capacity_waits_in_the_queue(
    tasks: dg.DagsterInstance, ecs: Ecs, answer: tuple[int, dict[str, Any]]
) -> None:
    """All of the runs wait, ECS is asked once in each pause, and they start once there is room."""
    ecs.answers = [answer]
    runs = [queued_run(tasks) for _ in range(2)]
    with daemon(tasks) as dequeuing:
        dequeuing.turn()
        dequeuing.turn(1)
        assert [status(tasks, each) for each in runs] == ["QUEUED"] * 2
        assert ecs.calls == 1
        run = tasks.get_run_by_id(runs[0])
        assert run is not None
        said = answer[1].get("message") or answer[1]["failures"][0]["reason"]
        assert said in run.tags[tags.WAITS_FOR]
        assert f"tried again automatically: {run.tags[tags.WAITS_FOR]}" in log(tasks, runs[0])
        ecs.answers = [STARTED]
        dequeuing.turn()
        assert {status(tasks, each) for each in runs} == {"STARTING"}


@pytest.mark.parametrize(("jobs", "family"), [((), "dlcs-run"), ((queued_job.name,), "dlcs-small-run")])
def test_a_job_has_a_task_of_its_size_and_capacity(
    tasks: dg.DagsterInstance, ecs: Ecs, monkeypatch: pytest.MonkeyPatch, jobs: tuple[str, ...], family: str
) -> None:
    """What the launcher asks ECS for: maintenance needs no Appetiser, and Spot is no launch type."""
    monkeypatch.setattr(tasks.run_launcher, "_small_jobs", frozenset(jobs))
    ecs.answers = [STARTED]
    with daemon(tasks) as dequeuing:
        queued_run(tasks)
        dequeuing.turn()
    assert ecs.asked["taskDefinition"].rpartition("/")[2].partition(":")[0] == family
    assert ecs.asked["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert "launchType" not in ecs.asked


def test_ecs_that_does_not_answer_lets_runs_wait(tasks: dg.DagsterInstance, ecs: Ecs) -> None:
    ecs.answers = [NO_ANSWER]
    with daemon(tasks) as dequeuing:
        run = queued_run(tasks)
        dequeuing.turn()
        assert status(tasks, run) == "QUEUED"


@pytest.mark.parametrize("answer", MISTAKES.values(), ids=MISTAKES)
def test_what_waiting_does_not_remove_fails_at_once(
    tasks: dg.DagsterInstance, ecs: Ecs, answer: tuple[int, dict[str, Any]]
) -> None:
    ecs.answers = [answer]
    with daemon(tasks) as dequeuing:
        run = queued_run(tasks)
        dequeuing.turn()
    assert status(tasks, run) == "FAILURE"


def test_a_run_fails_after_half_an_hour_without_capacity(tasks: dg.DagsterInstance, ecs: Ecs) -> None:
    """By what all three files of settings say; the test counts retries, not time."""
    waiting = []
    for path in (CHECKOUT, FOR_AWS, FOR_COMPOSE):
        config = read(path)["run_coordinator"]["config"]
        waiting.append(config["max_user_code_failure_retries"] * config["user_code_failure_retry_delay"])
    assert waiting == [1800] * 3
    ecs.answers = [CAPACITY["memory"]]
    with daemon(tasks) as dequeuing:
        run = queued_run(tasks)
        tasks.run_coordinator._max_user_code_failure_retries = 2  # type: ignore[attr-defined] # of 90
        for expected in ("QUEUED", "QUEUED", "FAILURE"):
            dequeuing.turn()
            assert status(tasks, run) == expected
