"""A run launcher for one machine that forks runs from a process with most imports done.

Dagster's own launcher starts an interpreter for each run, which imports Dagster and boto3 for a second and a half. Here
Python's fork server (`multiprocessing`) imports them once, below the daemon. Of this project it imports nothing: a run
loads the definitions by itself, as they are then, so that reloading them in the UI does what it does everywhere.
"""

from __future__ import annotations

import errno
import gc
import multiprocessing
import runpy
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final

import dagster as dg
import psutil
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass
from dagster._serdes.config_class import ConfigurableClassData

from dlcs_assets.database_errors import hide_values
from dlcs_assets.instance.capacity import put_back

# Packages, and modules of them, that a run needs and that start no thread and open nothing when they are imported.
PRELOADED: Final = (
    "dagster._cli",
    "dagster._core.storage.sqlite_storage",
    "dagster_aws.s3",
    "PIL.Image",
    "alembic.command",
    "anyio",
    "boto3.s3.transfer",
    "httpcore",
    "httpx",
    "jpylyzer.jpylyzer",
    "psutil",
    "psycopg2",
    "pydantic_settings",
    "regex",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.dialects.sqlite",
    "tenacity",
    "yaml",
)
PROCESS_TAG: Final = "dlcs/process"
# Between two readings of when a process began; a process number is not given out again so soon.
SECONDS_OFF: Final = 5.0


class ForkingRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Starts each run as a fork, on the machine of the daemon that launches it."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        hide_values()  # in daemon and webserver, too, which load nothing else of this project
        self._inst_data = inst_data
        self._server: ForkServerContext | None = None
        self._lock = threading.Lock()
        self._watched: set[str] = set()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Return this launcher's entry in `dagster.yaml`."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Return the schema of its configuration, which is empty."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> ForkingRunLauncher:
        """Return a launcher for an instance."""
        assert not config_value
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Fork a process that does what `dagster api execute_run` does, as the runs of every launcher."""
        run = context.dagster_run
        if run.job_code_origin is None:
            raise dg.DagsterInvariantViolationError(f"Run {run.run_id} does not say where its code is")
        command = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref()).get_command_args()
        with ExitStack() as opened:
            try:
                with self._lock:
                    process, tagged = self._fork(command[command.index("api") :], run.run_id, opened)
                self._follow(process, run.run_id)
            # The machine has no process, memory, file or thread left. If that ends the fork server, its pipe is found
            # at its end, or broken, as it happens.
            except (OSError, EOFError) as error:
                if isinstance(error, (EOFError, ConnectionError)):
                    reason = "the fork server ended"
                else:
                    reason = error.strerror or str(error)
                raise put_back(self._instance, run, f"machine {socket.gethostname()}: {reason}") from error
            assert process.pid is not None
            # Dagster writes a run's tags and its state as one: the run must not change its state meanwhile.
            self._instance.add_run_tags(run.run_id, {PROCESS_TAG: _identity(process.pid)})
            tagged.send(True)

    def terminate(self, run_id: str) -> bool:
        """Ask the run's process to end; return whether there was one."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        process = _process(run)
        if process is None:
            return False
        process.terminate()
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True: run monitoring may ask for the processes of runs."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a run lives, even if the daemon that launched it does not.

        Of a process on another machine nothing is known here: run monitoring would end its run for any other answer
        than that it runs. The ledger knows its heartbeat, and `reconcile` ends the run if that stops.
        """
        if run.run_id in self._watched or _process(run) is not None or _is_elsewhere(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")

    def _fork(self, arguments: Sequence[str], run_id: str, opened: ExitStack) -> tuple[ForkServerProcess, Connection]:
        """Fork a process; it begins when it is sent something, and ends if the pipe is closed before."""
        may_begin, tagged = (opened.enter_context(each) for each in self._context().Pipe(duplex=False))
        process = self._context().Process(
            target=execute, args=(arguments, may_begin), name=f"run {run_id}", daemon=True
        )
        process.start()
        return process, tagged

    def _follow(self, process: ForkServerProcess, run_id: str) -> None:
        self._watched.add(run_id)
        try:
            threading.Thread(target=self._watch, args=(process, run_id), daemon=True).start()
        except RuntimeError as error:
            self._watched.discard(run_id)
            raise OSError(errno.EAGAIN, str(error)) from error

    def _context(self) -> ForkServerContext:
        if self._server is None:
            self._server = multiprocessing.get_context("forkserver")
            self._server.set_forkserver_preload(list(PRELOADED))
        return self._server

    def _watch(self, process: ForkServerProcess, run_id: str) -> None:
        """Wait for the process, and report the run as ended if it did not do so itself."""
        process.join()
        run = self._instance.get_run_by_id(run_id)
        # If the fork server has died, its forks continue, and run monitoring checks them.
        if run is not None and not run.is_finished and _process(run) is None:
            message = f"The run's process ended before the run did (exit code {process.exitcode})."
            if run.status is dg.DagsterRunStatus.CANCELING:
                self._instance.report_run_canceled(run, message)
            else:
                self._instance.report_run_failed(run, message)
        self._watched.discard(run_id)


def execute(arguments: Sequence[str], may_begin: Connection) -> None:
    """Run `dagster` with these arguments in this process. Raises EOFError if the launcher died before that."""
    may_begin.recv()
    # Imported modules are no garbage, and checking them would copy their pages.
    gc.freeze()
    sys.argv = ["dagster", *arguments]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


def _identity(pid: int) -> str:
    try:
        began = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        began = 0.0
    return f"{socket.gethostname()} {pid} {began:.2f}"


def _is_elsewhere(run: dg.DagsterRun) -> bool:
    host = run.tags.get(PROCESS_TAG, "").partition(" ")[0]
    return host not in {"", socket.gethostname()}


def _process(run: dg.DagsterRun) -> psutil.Process | None:
    """Return the process of a run if it lives on this machine."""
    host, _, rest = run.tags.get(PROCESS_TAG, "").partition(" ")
    pid, _, began = rest.partition(" ")
    if host != socket.gethostname() or not pid:
        return None
    try:
        process = psutil.Process(int(pid))
        is_it = abs(process.create_time() - float(began)) < SECONDS_OFF and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if is_it else None
