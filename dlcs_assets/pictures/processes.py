"""The processes in which a run reads pictures: none that a foreign file leads astray takes the run along.

They begin with the run, are shared by all its threads, and end with it.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import Pipe
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.picture_limits import PictureLimits
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.machine import machine_memory_bytes
from dlcs_assets.pictures.requests import Done, Failed, Refused, Request
from dlcs_assets.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

_MOST_READERS: Final = 4
_SHARE: Final = 8
_LEAST_BYTES: Final = 2**28
# Of libraries that begin a thread, with memory of its own, for each processor; numpy's is set by the package.
_SINGLE: Final = {"OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}


@dataclass(frozen=True, slots=True)
class PictureReader:
    """Reads pictures within `limits`. `budget` is a folder by which all runs of the machine share the memory for it."""

    limits: PictureLimits
    budget: Path

    @classmethod
    def of(cls, settings: Settings) -> PictureReader:
        """Return the reader that the settings ask for."""
        return cls(picture_limits(settings), settings.slots.absolute() / "memory")

    @staticmethod
    def start(pictures: int) -> None:
        """Start the processes that so many pictures can use, without waiting: they load their libraries meanwhile."""
        with suppress(OSError):  # if there is no process left, the first picture says so
            _readers_of(os.getpid()).start(pictures)

    def run(self, task: Callable[Concatenate[Gate, P], T], *arguments: P.args, **_: P.kwargs) -> T:
        """Have a task of `tasks.py` done; blocks.

        Raises what it raises, and `PermanentError` `too_much_memory`, `too_much_time` or `decoder_died`, or
        `TransientError` `decoder_killed`.
        """
        answer = _readers_of(os.getpid()).ask(Request(task, arguments, self.limits, self.budget))
        if isinstance(answer, Refused):
            raise PermanentError(answer.code, answer.cause, remedy=answer.remedy)
        if isinstance(answer, Failed):
            raise RuntimeError(f"a picture could not be read:\n{answer.trace}")  # noqa: TRY004 (no matter of types)
        assert isinstance(answer, Done)
        value: T = answer.value
        return value


def picture_limits(settings: Settings) -> PictureLimits:
    """Return the limits that the settings name, or the machine sets."""
    return PictureLimits(
        pixels=settings.max_pixels,
        frames=settings.max_frames,
        parts=settings.max_parts,
        components=settings.max_components,
        memory_bytes=settings.decoder_memory or max(_LEAST_BYTES, machine_memory_bytes() // _SHARE),
    )


class ReaderProcesses:
    """Some processes; a caller waits for one that is free. A process that dies is replaced by the next question."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = threading.Semaphore(count)
        self._idle: list[_Reader] = []
        self._all: set[_Reader] = set()
        self._lock = threading.Lock()

    def start(self, count: int) -> None:
        """Start processes until there are that many, or as many as there may be."""
        with self._lock:
            while len(self._all) < min(count, self._count):
                self._idle.append(_Reader())
                self._all.add(self._idle[-1])

    def ask(self, request: Request) -> object:
        """Return the answer of a process. Raises IngestError if it dies."""
        with self._free:
            reader = self._take()
            try:
                answer = reader.ask(request)
            except BaseException:
                self._all.discard(reader)
                reader.kill()
                raise
            with self._lock:
                self._idle.append(reader)
            return answer

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            readers, self._all, self._idle = self._all, set(), []
        for reader in readers:
            reader.kill()

    def _take(self) -> _Reader:
        with self._lock:
            if self._idle:
                reader = self._idle.pop()
                if reader.is_alive():  # or it was killed between two pictures
                    return reader
                self._all.discard(reader)
                reader.kill()
            reader = _Reader()
            self._all.add(reader)
            return reader


class _Reader:
    """A process and our end of its pipe."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-P", "-m", "dlcs_assets.pictures.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # which ends with this process
                env={**os.environ, **_SINGLE},
                process_group=0,
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Request) -> object:
        try:
            self._connection.send(request)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
            raise _death(self._process.returncode, request.limits) from error

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._connection.close()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _death(status: int | None, limits: PictureLimits) -> IngestError:
    """Return the error of a picture while which was read the process ended."""
    if status == -signal.SIGXCPU:
        return PermanentError(
            "too_much_time",
            f"Reading the image took more than {limits.seconds:g} s of the processor, and 1 s for each megapixel",
            remedy="Save it again from an image editor, and put that at its origin.",
        )
    if status in {None, -signal.SIGKILL, -signal.SIGTERM}:
        return TransientError(
            "decoder_killed",
            "The process that read the image was killed from outside",
            remedy="See whether the machine is short of memory; the image is retried automatically.",
        )
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return PermanentError(
        "decoder_died",
        f"The decoder died ({how}) of this image, or of the memory that it took",
        remedy="See whether it opens elsewhere; save it again from an image editor, and put that at its origin.",
    )


@cache
def _readers_of(_process: int) -> ReaderProcesses:
    """Return the readers of this process: a fork of it must not speak into the same pipes."""
    readers = ReaderProcesses(min(_MOST_READERS, os.cpu_count() or 1))
    atexit.register(readers.close)
    return readers
