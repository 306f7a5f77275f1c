"""A ledger works for one Dagster instance, and a run in one process: real instances, real processes."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.definitions import build_definitions
from dlcs_assets.defs.ledgers import TEMPORARY_HOME, identity, is_gone, process_ledger
from dlcs_assets.defs.resources import build_resources
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.settings import Settings
from dlcs_testing import held_job
from dlcs_testing.instances import dagster_storage, instance_with, pooled_storage
from dlcs_testing.postgresql import Server
from dlcs_testing.processes import eventually

SCHEDULE = RetrySchedule(attempts=3, delay=timedelta(seconds=60))
SENSOR = "due_images"  # asks for nothing but the ledger
SECONDS = 60


@pytest.fixture
def ledger_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger that the environment names."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("DLCS_LEDGER_URL", url)
    return url


@pytest.fixture
def make_instance(tmp_path: Path) -> Iterator[Callable[[str], dg.DagsterInstance]]:
    """Make a Dagster instance with a home of its own."""
    with ExitStack() as opened:

        def made(name: str) -> dg.DagsterInstance:
            (tmp_path / name).mkdir()
            overrides = {"run_monitoring": {"enabled": False}}
            return opened.enter_context(dg.instance_for_test(temp_dir=str(tmp_path / name), overrides=overrides))

        yield made


def tick(instance: dg.DagsterInstance, url: str) -> str:
    """Evaluate a sensor as the daemon does, with its own resources; return why it launched nothing."""
    settings = Settings(ledger_url=url)
    repository = build_definitions(settings).get_repository_def()
    resources = {name: build_resources(settings)[name] for name in ("settings", "ledger")}
    with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
        result = repository.get_sensor_def(SENSOR)(context)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def reprocess(instance: dg.DagsterInstance, url: str) -> dg.ExecuteInProcessResult:
    """Run a job that a person launches."""
    job = build_definitions(Settings(ledger_url=url)).resolve_job_def("reprocess_images")
    config = {"ops": {"request_reprocessing": {"config": {"customer": 2}}}}
    return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    failed = [event for event in result.all_events if event.is_failure]
    return str([event.event_specific_data for event in failed])


def take_over(url: str, instance: dg.DagsterInstance) -> None:
    """As the command does."""
    person = Ledger(url)
    person.ownership.take_over(*identity(instance), schedule=SCHEDULE, now=datetime.now(UTC))
    person.close()


def test_a_second_dagster_is_refused_in_ticks_and_runs(
    ledger_url: str, make_instance: Callable[[str], dg.DagsterInstance]
) -> None:
    """It says whose the ledger is, and the command by which it would be its own; the first continues."""
    first, second = make_instance("first"), make_instance("second")
    assert "Pending: none" in tick(first, ledger_url)
    with pytest.raises(dg.DagsterResourceFunctionError) as refused:
        tick(second, ledger_url)
    why = str(refused.value.__cause__)
    assert f"belongs to Dagster instance {identity(first)[0]}" in why
    assert f"dlcs ledger take-over {identity(second)[0]}" in why
    result = reprocess(second, ledger_url)
    assert not result.success
    assert "works for one Dagster instance" in failure_of(result)
    assert reprocess(first, ledger_url).success


def test_after_a_take_over_the_former_owner_is_refused(
    ledger_url: str, make_instance: Callable[[str], dg.DagsterInstance]
) -> None:
    first, second = make_instance("first"), make_instance("second")
    tick(first, ledger_url)
    take_over(ledger_url, second)
    assert "Pending: none" in tick(second, ledger_url)
    with pytest.raises(dg.DagsterResourceFunctionError):
        tick(first, ledger_url)
    assert not reprocess(first, ledger_url).success


def test_a_dagster_dev_replaces_the_one_that_ended(
    ledger_url: str, make_instance: Callable[[str], dg.DagsterInstance], tmp_path: Path
) -> None:
    """Without DAGSTER_HOME each start is another instance; as long as the former one lives, the next is refused."""
    first, second = make_instance(".tmp_dagster_home_1"), make_instance(".tmp_dagster_home_2")
    tick(first, ledger_url)
    with pytest.raises(dg.DagsterResourceFunctionError):
        tick(second, ledger_url)
    (tmp_path / ".tmp_dagster_home_1").rename(tmp_path / "deleted")
    assert "Pending: none" in tick(second, ledger_url)
    with pytest.raises(dg.DagsterResourceFunctionError):
        tick(first, ledger_url)


@pytest.mark.parametrize(
    "name", [f"elsewhere:/tmp/{TEMPORARY_HOME}x", f"{socket.gethostname()}:/nowhere/dagster", "not seen yet"]
)
def test_only_a_temporary_home_of_this_machine_can_be_gone(name: str) -> None:
    """A folder that cannot be seen may be on another machine, or not mounted at this moment."""
    assert not is_gone(name)


@pytest.mark.parametrize("storage", [pooled_storage, dagster_storage])
def test_all_processes_of_an_instance_pass(
    postgresql_server: Server, tmp_path: Path, storage: Callable[[str], dict[str, object]]
) -> None:
    """They have homes on their own machines, and the instance's storage in common."""
    ledger_url, dagster_url = postgresql_server.new_database(), postgresql_server.new_database()
    ids = set()
    for machine in ("daemon", "code server", "run"):
        with instance_with(storage(dagster_url), tmp_path / machine) as instance:
            assert "Pending: none" in tick(instance, ledger_url)
            assert reprocess(instance, ledger_url).success
            ids.add(identity(instance)[0])
    assert len(ids) == 1
    other_url = postgresql_server.new_database()
    with (
        instance_with(storage(other_url), tmp_path / "other") as another,
        pytest.raises(dg.DagsterResourceFunctionError),
    ):
        tick(another, ledger_url)


def test_a_copy_of_a_ledger_belongs_to_its_first_dagster(
    ledger_url: str, tmp_path: Path, make_instance: Callable[[str], dg.DagsterInstance]
) -> None:
    """Restored for another installation, it does not start to work there by itself; where it came from it continues."""
    first, second = make_instance("first"), make_instance("second")
    tick(first, ledger_url)
    process_ledger(ledger_url, None, identity(first)[0]).close()
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "ledger.db").read_bytes())
    with pytest.raises(dg.DagsterResourceFunctionError):
        tick(second, f"sqlite:///{copy}")
    assert "Pending: none" in tick(first, f"sqlite:///{copy}")


class Processes:
    """Processes that work on one run."""

    def __init__(self, instance: dg.DagsterInstance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.run_id = held_job.starting_run(instance)
        self._opened = ExitStack()

    def start(self, *, resume: bool = False) -> subprocess.Popen[str]:
        number = len(list(self.folder.glob("*.log")))
        log = self._opened.enter_context((self.folder / f"{number}.log").open("w"))
        command = held_job.command(self.instance, self.run_id, resume=resume)
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "HELD_JOB_FOLDER": str(self.folder)},
        )
        self._opened.callback(process.wait)
        self._opened.callback(process.kill)
        return process

    def log(self, number: int) -> str:
        return (self.folder / f"{number}.log").read_text()

    def await_log(self, number: int, text: str) -> None:
        assert eventually(lambda: text in self.log(number), seconds=SECONDS), self.log(number)

    def workers(self) -> list[int]:
        path = self.folder / "workers"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_workers(self, *processes: subprocess.Popen[str]) -> None:
        wanted = [process.pid for process in processes]
        assert eventually(lambda: self.workers() == wanted, seconds=SECONDS), self.log(len(wanted) - 1)

    def release(self) -> None:
        (self.folder / "release").touch()

    def ends(self) -> list[str]:
        """Return the events by which the run ended."""
        ends = {dg.DagsterEventType.PIPELINE_SUCCESS, dg.DagsterEventType.PIPELINE_FAILURE}
        return [str(entry.message) for entry in self.instance.all_logs(self.run_id, of_type=ends)]

    def succeeded(self) -> bool:
        run = self.instance.get_run_by_id(self.run_id)
        return run is not None and run.is_success

    def start_two(self) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
        """Start the run, and again while it is worked on; return the two processes, of which the second waits."""
        first = self.start()
        self.await_workers(first)
        held_job.is_starting_again(self.instance, self.run_id)
        second = self.start()
        self.await_log(1, "stands by")
        return first, second

    def close(self) -> None:
        self._opened.close()


@contextmanager
def working(instance: dg.DagsterInstance, folder: Path) -> Iterator[Processes]:
    folder.mkdir()
    processes = Processes(instance, folder)
    try:
        yield processes
    finally:
        processes.close()


def test_a_run_launched_twice_is_worked_on_once(
    ledger_url: str, tmp_path: Path, make_instance: Callable[[str], dg.DagsterInstance]
) -> None:
    """By two daemons, for example. The second process waits, and ends without an event."""
    assert ledger_url
    with working(make_instance("home"), tmp_path / "work") as processes:
        first, second = processes.start_two()
        processes.release()
        assert first.wait(SECONDS) == 0
        assert second.wait(SECONDS) == 0
        assert processes.workers() == [first.pid]
        assert processes.succeeded()
        assert len(processes.ends()) == 1


def test_a_killed_run_goes_on_in_its_second_process(
    ledger_url: str, tmp_path: Path, make_instance: Callable[[str], dg.DagsterInstance]
) -> None:
    """At once, if both are on one machine."""
    assert ledger_url
    with working(make_instance("home"), tmp_path / "work") as processes:
        first, second = processes.start_two()
        first.kill()
        processes.await_workers(first, second)
        processes.release()
        assert second.wait(SECONDS) == 0
        assert processes.succeeded()


def test_a_killed_run_is_resumed_by_run_monitoring(
    ledger_url: str, tmp_path: Path, make_instance: Callable[[str], dg.DagsterInstance]
) -> None:
    assert ledger_url
    with working(make_instance("home"), tmp_path / "work") as processes:
        first = processes.start()
        processes.await_workers(first)
        first.kill()
        first.wait()
        second = processes.start(resume=True)
        processes.await_workers(first, second)
        processes.release()
        assert second.wait(SECONDS) == 0
        assert processes.succeeded()
