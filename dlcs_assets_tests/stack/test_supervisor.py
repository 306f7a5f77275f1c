from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dlcs_stack.supervisor import (
    BrokenServiceError,
    Ready,
    Service,
    ServiceFailedError,
    Supervisor,
    free_port,
    http_health,
    is_free,
)
from dlcs_testing.processes import eventually, is_running, kill_service, read_pid

SLEEPER = "import time; time.sleep(600)"
# Starts a child in a session of its own, out of reach of signals to the group, and writes both process ids.
WITH_RUNAWAY = """
    import os, pathlib, subprocess, sys, time
    folder = pathlib.Path(sys.argv[1])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (folder / "runaway.pid").write_text(f"{child.pid}\\n")
    (folder / "service.pid").write_text(f"{os.getpid()}\\n")
    time.sleep(600)
"""
DEAF = """
    import os, pathlib, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(sys.argv[1], "service.pid").write_text(f"{os.getpid()}\\n")
    time.sleep(600)
"""


# Is a web server once, and fails whenever it is started again.
ONCE = """
    import pathlib, runpy, sys
    pathlib.Path(sys.argv.pop(1)).touch(exist_ok=False)
    runpy.run_module("http.server", run_name="__main__")
"""


def python(script: str, *arguments: object) -> Sequence[str]:
    return [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]


def service(tmp_path: Path, name: str, command: Sequence[str], **more: Any) -> Service:
    return Service(name, command, tmp_path / f"{name}.log", **{"health": lambda: None, **more})


def http_service(tmp_path: Path, name: str, port: int, **more: Any) -> Service:
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    return service(tmp_path, name, command, health=http_health(f"http://127.0.0.1:{port}/"), **more)


def test_a_stopped_service_frees_its_port(tmp_path: Path) -> None:
    """A started one answers at it; the next start must not find the port in use."""
    port = free_port()
    with Supervisor() as supervisor:
        supervisor.start(http_service(tmp_path, "files", port))
        assert not is_free(port)
    assert is_free(port)


def test_a_service_starts_only_when_those_before_it_are_ready(tmp_path: Path) -> None:
    order: list[str] = []
    port = free_port()
    first = http_service(tmp_path, "first", port)
    second = service(tmp_path, "second", python(SLEEPER), after=["first"])
    with Supervisor(lambda ready: order.append(f"{ready.service.name} ready")) as supervisor:
        supervisor.start(second, first)
    assert order == ["first ready", "second ready"]


def test_the_time_to_readiness_is_reported(tmp_path: Path) -> None:
    seen: list[Ready] = []
    with Supervisor(seen.append) as supervisor:
        supervisor.start(service(tmp_path, "quick", python(SLEEPER)))
    assert timedelta(0) <= seen[0].took < timedelta(seconds=20)


def test_a_service_that_waits_for_an_unknown_one_is_refused(tmp_path: Path) -> None:
    """It would never be ready; its name is in the error."""
    with Supervisor() as supervisor, pytest.raises(ValueError, match="second"):
        supervisor.start(service(tmp_path, "second", python(SLEEPER), after=["first"]))


def test_a_service_that_ends_before_it_is_ready_is_reported(tmp_path: Path) -> None:
    """With its exit status, the last lines of its output and the path of its log."""
    broken = service(
        tmp_path, "images", python("print('no such codec'); raise SystemExit(3)"), health=lambda: "not yet"
    )
    with Supervisor() as supervisor, pytest.raises(ServiceFailedError) as failed:
        supervisor.start(broken)
    assert "images ended before it was ready, with status 3" in str(failed.value)
    assert "no such codec" in str(failed.value)
    assert str(tmp_path / "images.log") in str(failed.value)


def test_a_service_that_is_not_ready_in_time_is_reported(tmp_path: Path) -> None:
    """With what its health check said last."""
    slow = service(
        tmp_path, "queue", python(SLEEPER), health=lambda: "no answer", ready_timeout=timedelta(milliseconds=200)
    )
    with (
        Supervisor() as supervisor,
        pytest.raises(ServiceFailedError, match=r"queue was not ready within .* s: no answer"),
    ):
        supervisor.start(slow)


def test_a_health_check_that_raises_ends_the_wait_at_once(tmp_path: Path) -> None:
    def health() -> str | None:
        raise BrokenServiceError("it does not load")

    with Supervisor() as supervisor, pytest.raises(ServiceFailedError, match="cannot be used: it does not load"):
        supervisor.start(service(tmp_path, "code", python(SLEEPER), health=health))


def test_a_service_that_dies_later_is_noticed(tmp_path: Path) -> None:
    pid_file = tmp_path / "service.pid"
    with Supervisor() as supervisor:
        supervisor.start(service(tmp_path, "worker", python(DEAF, tmp_path)))
        supervisor.check()
        os.kill(read_pid(pid_file), signal.SIGKILL)
        assert eventually(lambda: not is_running(supervisor.pids()["worker"]))
        with pytest.raises(ServiceFailedError, match="worker ended by itself, with status 137"):
            supervisor.check()


def test_a_service_that_restarts_answers_again_after_it_died(tmp_path: Path) -> None:
    port = free_port()
    ready: list[Ready] = []
    with Supervisor(ready.append) as supervisor:
        supervisor.start(http_service(tmp_path, "files", port, restarts=True))
        first = supervisor.pids()
        kill_service(supervisor.pids()["files"])

        def is_back() -> bool:
            supervisor.check()
            return len(ready) == 2

        assert eventually(is_back)
        assert supervisor.pids() != first
        assert not is_free(port)
    assert is_free(port)


def test_a_service_that_fails_on_its_restart_is_given_up(tmp_path: Path) -> None:
    """It must not be restarted in a loop; its reason is reported."""
    port = free_port()
    command = python(ONCE, tmp_path / "once", port, "--bind", "127.0.0.1")
    health = http_health(f"http://127.0.0.1:{port}/")
    with Supervisor() as supervisor:
        supervisor.start(service(tmp_path, "files", command, health=health, restarts=True))
        kill_service(supervisor.pids()["files"])

        def checks() -> bool:
            supervisor.check()
            return False

        with pytest.raises(ServiceFailedError, match=r"files ended before it was ready[\s\S]*FileExistsError"):
            eventually(checks)


def test_one_service_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    port = free_port()
    files = http_service(tmp_path, "files", port)
    with Supervisor() as supervisor:
        supervisor.start(files)
        supervisor.stop("files")
        assert is_free(port)
        supervisor.check()
        supervisor.start(files)
        assert not is_free(port)


def test_a_service_deaf_to_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(service(tmp_path, "deaf", python(DEAF, tmp_path), grace=timedelta(milliseconds=300)))
        pid = read_pid(tmp_path / "service.pid")
    assert not is_running(pid)


def test_a_service_gets_sigterm_before_it_is_killed(tmp_path: Path) -> None:
    script = """
        import pathlib, signal, sys, time
        folder = pathlib.Path(sys.argv[1])
        def end(*_):
            (folder / "ended").write_text("in order")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        (folder / "up").touch()
        time.sleep(600)
    """
    with Supervisor() as supervisor:
        supervisor.start(
            service(
                tmp_path,
                "polite",
                python(script, tmp_path),
                health=lambda: None if (tmp_path / "up").exists() else "no",
            )
        )
    assert (tmp_path / "ended").read_text() == "in order"


def test_a_child_that_left_the_group_ends_with_its_service(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(service(tmp_path, "parent", python(WITH_RUNAWAY, tmp_path)))
        pids = [read_pid(tmp_path / "runaway.pid"), read_pid(tmp_path / "service.pid")]
        assert all(map(is_running, pids))
    assert not any(map(is_running, pids))


def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from dlcs_stack.supervisor import Service, Supervisor
        with Supervisor() as supervisor:
            supervisor.start(Service("parent", sys.argv[2:], Path(sys.argv[1], "log"), lambda: None))
            time.sleep(600)
    """
    command = python(WITH_RUNAWAY, tmp_path)
    with subprocess.Popen(python(script, tmp_path, *command)) as supervisor:
        pids = [read_pid(tmp_path / "service.pid"), read_pid(tmp_path / "runaway.pid")]
        supervisor.kill()
    assert eventually(lambda: not any(map(is_running, pids)))
