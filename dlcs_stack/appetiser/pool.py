"""Worker processes for conversions: a time limit each, and a limit to the pixels that are in memory at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import Pipe

from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jobs import Converted, Job, Refused, Weighed


class PixelBudget:
    """Admits work in the order of arrival while its pixels fit. What is larger than the whole budget goes alone."""

    def __init__(self, pixels: int) -> None:
        self._total = pixels
        self._free = pixels
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextlib.contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` fit, and hold them."""
        pixels = min(pixels, self._total)
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket and self._free >= pixels)
            self._waiting.popleft()
            self._free -= pixels
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


class ConversionPool:
    """Processes that convert images. Its methods may be called from any thread.

    One that dies or takes longer than `time_limit` (waiting not counted) fails its own job only, and is replaced.
    """

    def __init__(self, workers: int, *, pixels_in_flight: int, time_limit: timedelta) -> None:
        self._time_limit = time_limit
        self._budget = PixelBudget(pixels_in_flight)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._workers = {_Worker() for _ in range(workers)}
        for worker in self._workers:
            self._idle.put(worker)

    def convert(self, job: Job) -> Converted:
        """Have a job done; blocks. Raises `ConversionError`."""
        worker = self._idle.get()
        try:
            if not worker.is_alive():  # between two jobs: no job's fault
                worker = self._replace(worker)
            answer = self._converse(worker, job)
        except BaseException:
            worker = self._replace(worker)
            raise
        finally:
            self._idle.put(worker)
        if isinstance(answer, Refused):
            raise ConversionError(answer.detail)
        return answer

    def close(self) -> None:
        """End all workers, and with them the jobs in progress."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()

    def _converse(self, worker: _Worker, job: Job) -> Converted | Refused:
        worker.send(job)
        answer = worker.receive(self._time_limit)
        if isinstance(answer, Weighed):
            with self._budget.hold(answer.pixels):
                worker.send(None)
                answer = worker.receive(self._time_limit)
        if not isinstance(answer, Converted | Refused):
            raise TypeError(f"not an answer: {answer!r}")
        return answer

    def _replace(self, worker: _Worker) -> _Worker:
        worker.kill()
        worker.hang_up()
        with self._lock:
            if self._closed:
                return worker
            self._workers.remove(worker)
            replacement = _Worker()
            self._workers.add(replacement)
            return replacement


class _Worker:
    """A process and our end of its pipe."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # A process group of its own: what it starts dies with it, and a Ctrl-C in the terminal is the server's.
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "dlcs_stack.appetiser.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: object) -> None:
        with self._death_reported():
            self._connection.send(message)

    def receive(self, limit: timedelta) -> object:
        started = time.monotonic()
        with self._death_reported():
            if self._connection.poll(limit.total_seconds()):
                return self._connection.recv()
        raise ConversionError(f"The conversion was given up after {time.monotonic() - started:.0f} seconds.")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def hang_up(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _death_reported(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
            status = self._process.returncode
            how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
            raise ConversionError(f"The worker died {how} while it converted this image.") from error
