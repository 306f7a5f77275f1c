"""Starts, watches and stops the processes of the embedded stack; knows nothing of what they do."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.error import HTTPError

# What is missing until a service can be used, in a few words; None once nothing is.
Health = Callable[[], str | None]

GUARD: Final = Path(__file__).with_name("guard.py")
POLL_INTERVAL: Final = timedelta(milliseconds=50)
LAST_LOG_LINES: Final = 15
PRIVATE_UMASK: Final = 0o077
HEALTH_TIMEOUT: Final = timedelta(seconds=3)
# Below the range from which Linux and macOS take the ports of outgoing connections: none of those comes in between.
FREE_PORTS: Final = range(20000, 32000)


class BrokenServiceError(Exception):
    """What a health check raises when it sees that waiting longer will not help."""


class ServiceFailedError(Exception):
    """A service could not be started, was not ready in time, or ended by itself; the message says which and why."""

    def __init__(self, service: Service, what: str) -> None:
        lines = _last_lines(service.log)
        shown = "\n".join(f"    {line}" for line in lines) if lines else "    (the log is empty)"
        super().__init__(f"{service.name} {what}. Its log, {service.log}, ends with:\n{shown}")
        self.service = service


@dataclass(frozen=True)
class Service:
    """A process to run, and how to check that it can be used."""

    name: str
    command: Sequence[str]
    log: Path
    health: Health
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))  # all of it
    after: Sequence[str] = ()  # names of the services that must be ready before this one starts
    url: str | None = None
    ready_timeout: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(seconds=10)  # between SIGTERM and SIGKILL
    restarts: bool = False  # whether it is started again when it ends by itself, having been ready


@dataclass(frozen=True)
class Ready:
    """A service that can be used, and how long it took from its start."""

    service: Service
    took: timedelta


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    started: float  # time.monotonic
    ready: bool = False


class Supervisor:
    """Processes that live as long as this object's `with` block, and never longer than this process."""

    def __init__(self, on_ready: Callable[[Ready], None] | None = None) -> None:
        self._on_ready = on_ready
        self._running: dict[str, _Running] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *services: Service) -> None:
        """Start services, as many at a time as their order allows, and return when all are ready.

        Raises ServiceFailedError for the first that ends or isn't ready in time; the others run until `stop`.
        """
        waiting = list(services)
        unready: list[_Running] = []
        while waiting or unready:
            for service in [each for each in waiting if self._may_start(each)]:
                waiting.remove(service)
                unready.append(self._spawn(service))
            if not unready:
                names = ", ".join(service.name for service in waiting)
                raise ValueError(f"These services wait for others that are not started: {names}")
            unready = [running for running in unready if not self._becomes_ready(running)]
            if unready:
                time.sleep(POLL_INTERVAL.total_seconds())

    def check(self) -> None:
        """Raise ServiceFailedError if a process that was started has ended by itself; start those again that restart.

        It does not wait until they are ready: that is for the next checks to see, and to raise if they don't become so.
        """
        for running in list(self._running.values()):
            if running.ready and running.service.restarts and running.process.poll() is not None:
                _stop([running])  # it has ended: this closes the pipe to it
                self._spawn(running.service)
            elif running.ready:
                _check_alive(running)
            else:
                self._becomes_ready(running)

    def stop(self, *names: str) -> None:
        """Stop the services of these names, or all of them: those that depend on others first."""
        chosen = set(names or self._running)
        while chosen:
            needed = {needed for name in chosen for needed in self._running[name].service.after}
            batch = (chosen - needed) or chosen
            _stop([self._running.pop(name) for name in sorted(batch)])
            chosen -= batch

    def pids(self) -> dict[str, int]:
        """Return the process id of each service's guard, by the service's name."""
        return {name: running.process.pid for name, running in self._running.items()}

    def _may_start(self, service: Service) -> bool:
        return all(name in self._running and self._running[name].ready for name in service.after)

    def _spawn(self, service: Service) -> _Running:
        service.log.parent.mkdir(parents=True, exist_ok=True)
        guard = [sys.executable, "-I", "-S", str(GUARD), str(service.grace.total_seconds()), *service.command]
        with open(service.log, "ab", opener=_private) as log:
            process = subprocess.Popen(  # noqa: S603 (the commands are the stack's own)
                guard,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(service.environment),
                umask=PRIVATE_UMASK,  # of all that it and its children make: databases, logs, sockets, pictures
                start_new_session=True,  # Ctrl-C in the terminal reaches this process, which then stops them in order
            )
        running = _Running(service, process, time.monotonic())
        self._running[service.name] = running
        return running

    def _becomes_ready(self, running: _Running) -> bool:
        _check_alive(running)
        service = running.service
        try:
            missing = service.health()
        except BrokenServiceError as error:
            raise ServiceFailedError(service, f"cannot be used: {error}") from error
        if missing is not None:
            waited = time.monotonic() - running.started
            if waited > service.ready_timeout.total_seconds():
                raise ServiceFailedError(service, f"was not ready within {waited:.0f} s: {missing}")
            return False
        running.ready = True
        if self._on_ready is not None:
            self._on_ready(Ready(service, timedelta(seconds=time.monotonic() - running.started)))
        return True


def http_health(url: str, *, also: Collection[int] = ()) -> Health:
    """Ready when a GET of `url` is answered with 2xx, or a status of `also`."""

    def health() -> str | None:
        try:
            fetch(url)
        except HTTPError as error:
            return None if error.code in also else f"{url}: {error}"
        except OSError as error:
            return f"{url}: {error}"
        return None

    return health


def fetch(url: str, body: bytes | None = None) -> bytes:
    """Return the answer to a GET, or with a body a POST of JSON; raises OSError unless it is a 2xx in good time.

    With the standard library, past any proxy of the environment: a health check is asked many times a second.
    """
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 (the URLs are the stack's own)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=HEALTH_TIMEOUT.total_seconds()) as response:
            answer: bytes = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"not HTTP ({error!r})") from error
    return answer


def free_port() -> int:
    """Return a port of the loopback interface on which nothing listens."""
    for port in random.sample(FREE_PORTS, k=100):
        if is_free(port):
            return port
    raise OSError(f"No free port found between {FREE_PORTS.start} and {FREE_PORTS.stop}")


def is_free(port: int) -> bool:
    """Return whether a service could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _check_alive(running: _Running) -> None:
    status = running.process.poll()
    if status is not None:
        when = "ended by itself" if running.ready else "ended before it was ready"
        raise ServiceFailedError(running.service, f"{when}, with status {status}")


def _stop(batch: Sequence[_Running]) -> None:
    for running in batch:  # all at once: closing its standard input is what tells a guard to stop
        if running.process.stdin is not None:
            with suppress(BrokenPipeError):
                running.process.stdin.close()
    for running in batch:
        try:
            running.process.wait(running.service.grace.total_seconds() + 5)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


def _last_lines(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_000))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.rstrip().splitlines()[-LAST_LOG_LINES:]
