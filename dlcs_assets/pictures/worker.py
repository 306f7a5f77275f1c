"""A process that reads pictures for a run: one task at a time from a pipe, each within limits of memory and time.

Where a decoder takes more than its picture may, or dies, that picture is lost, and nothing else of the run.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import traceback
from contextlib import ExitStack, suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from dlcs_assets.clients.file_semaphore import FileBudget
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.picture_limits import Demand, too_much_memory
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.requests import Done, Failed, Refused, Request

# For the interpreter, the libraries, and pictures so small that they ask for no share of what all processes have.
BASE_BYTES: Final = 320 * 2**20
SMALL_BYTES: Final = 2**26
UNIT_BYTES: Final = 2**25
_FIRST_TO_BE_KILLED: Final = "700"
# What a JPEG, its JP2 and its thumbnails need; the rest is loaded for the first picture of its kind.
_USUAL: Final = (
    "dlcs_assets.pictures.tasks",
    "numpy",
    "pyvips",
    "PIL.JpegImagePlugin",
    "PIL.Jpeg2KImagePlugin",
    "jpylyzer.jpylyzer",
)


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument, until its other end or standard input closes."""
    connection: Connection[object, object] = Connection(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, encoding="ascii")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in _USUAL:
        import_module(name)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        assert isinstance(request, Request)
        connection.send(answer(request))


def answer(request: Request) -> Done | Refused | Failed:
    """Do a task within the limits."""
    with ExitStack() as admitted, ExitStack() as limited:
        limited.callback(_unlimited)
        budget = FileBudget(request.budget, request.limits.memory_bytes // UNIT_BYTES)
        allowed = BASE_BYTES

        def admit(demand: Demand) -> None:
            nonlocal allowed
            admitted.close()  # what an earlier way of decoding was to take
            if demand.memory_bytes > SMALL_BYTES:
                admitted.enter_context(budget.acquire(min(-(-demand.memory_bytes // UNIT_BYTES), budget.units)))
            allowed = BASE_BYTES + demand.memory_bytes
            _limit(allowed, request.limits.seconds + demand.pixels / 10**6)

        _limit(allowed, request.limits.seconds)
        try:
            return Done(request.task(Gate(request.limits, admit), *request.arguments))
        except PermanentError as error:
            return Refused(error.code, error.cause, error.remedy)
        except MemoryError:
            _unlimited()
            excess = too_much_memory(
                f"Reading the image took more than the {allowed // 10**6} MB of memory that its size accounts for"
            )
            return Refused(excess.code, excess.cause, excess.remedy)
        except Exception:  # noqa: BLE001 (the run raises it, and says that it is a fault of ours)
            return Failed(traceback.format_exc())


def _limit(data_bytes: int, seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_DATA, data_bytes)
    _lower(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime + seconds) + 1)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _unlimited() -> None:
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (hard, hard))


def _end_with_parent() -> None:
    """End with the run, also in the middle of a picture."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
