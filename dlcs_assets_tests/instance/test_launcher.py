"""The launcher: what is imported before a run is forked, and how a run's process is found again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import WorkerStatus

from dlcs_assets.instance.launcher import PRELOADED, PROCESS_TAG, ForkingRunLauncher

LOADED = f"""
import importlib, json, os, sys
for name in {PRELOADED!r}:
    importlib.import_module(name)
before, threads = set(sys.modules), len(os.listdir("/proc/self/task"))
import dlcs_assets.definitions
print(json.dumps([threads, sorted(before), sorted(set(sys.modules) - before)]))
"""


def status(tag: str) -> WorkerStatus:
    """Ask a launcher that has just been started for a run that another one launched."""
    run = dg.DagsterRun(job_name="ingest", tags={PROCESS_TAG: tag} if tag else {})
    return ForkingRunLauncher().check_run_worker_health(run).status


@pytest.fixture
def process() -> Iterator[psutil.Popen]:
    with psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def tag_of(process: psutil.Popen, host: str | None = None, later: float = 0.0) -> str:
    return f"{host or socket.gethostname()} {process.pid} {process.create_time() + later:.2f}"


def test_only_libraries_are_imported_before_a_run_is_forked() -> None:
    """Imported after it, they would cost each run seconds; this project's code must be read as it is today."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True)
    threads, before, new = json.loads(done.stdout)
    assert threads == 1  # a fork has only one: locks that other threads hold would never be released
    assert not [name for name in before if name.startswith("dlcs_assets")]  # otherwise a run would not see changed code
    assert len([name for name in new if not name.startswith("dlcs_assets")]) < 10


def test_a_run_is_running_as_long_as_its_process_is(process: psutil.Popen) -> None:
    tag = tag_of(process)
    assert status(tag) is WorkerStatus.RUNNING
    process.kill()
    process.wait()
    assert status(tag) is WorkerStatus.NOT_FOUND


def test_another_process_with_the_same_id_is_not_the_run(process: psutil.Popen) -> None:
    """Process ids are reused: a run must not be shown as running because of a later process."""
    assert status(tag_of(process, later=-60)) is WorkerStatus.NOT_FOUND


def test_a_run_of_another_machine_is_not_taken_for_ended(process: psutil.Popen) -> None:
    """Run monitoring would mark it as failed, and a second daemon the runs of the first. Its heartbeat tells more."""
    tag = tag_of(process, host="elsewhere")
    assert status(tag) is WorkerStatus.RUNNING
    process.kill()
    process.wait()
    assert status(tag) is WorkerStatus.RUNNING


def test_a_run_of_another_launcher_has_no_process_here() -> None:
    """After a change of launcher, runs of before must be found ended, not be asked for a missing tag."""
    assert status("") is WorkerStatus.NOT_FOUND
