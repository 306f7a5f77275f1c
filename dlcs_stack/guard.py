"""Runs one command and lets nothing of it outlive the holder of the other end of standard input.

    python -I -S guard.py GRACE_SECONDS COMMAND [ARGUMENT ...]

The command runs in a process group of its own. When standard input ends (the holder closed it, or was killed), or on
SIGTERM, the group gets SIGTERM and, after the grace period, SIGKILL. On Linux the guard is the adoptive parent of
every orphan below it, so that processes which left the group are found too. It ends with the command's status.
Standard library only: it starts in a few hundredths of a second, and nothing of the project can break it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PARENT_CHECK_SECONDS = 1.0


def main(grace_seconds: float, command: list[str]) -> int:
    """Run `command` until it ends or standard input does; return its exit status, 128 + n for signal n."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake = _wake_on(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
    null = os.open(os.devnull, os.O_RDONLY)
    child = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 0)],
        setpgroup=0,
        setsigdef=[signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE],
    )
    status = None
    while status is None:
        readable, _, _ = select.select([0, wake], [], [], PARENT_CHECK_SECONDS)
        stopped = wake in readable and any(byte != signal.SIGCHLD for byte in os.read(wake, 4096))
        status = _reap(child)
        # A process forked from the holder may hold the pipe open after the holder's death: hence the parent, too.
        if status is None and (stopped or 0 in readable or os.getppid() != parent):
            status = _stop(child, wake, grace_seconds)
    _signal_group(child, signal.SIGKILL)
    _end_orphans()
    return status


def _wake_on(*signals: signal.Signals) -> int:
    """Return a descriptor from which the numbers of these signals can be read as they arrive."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def _reap(child: int) -> int | None:
    """Collect every process that has ended; return the child's exit status if it was among them."""
    status = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                status = 128 - code if code < 0 else code
    return status


def _stop(child: int, wake: int, grace_seconds: float) -> int:
    """End the child's group, gently first; return the child's exit status."""
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([wake], [], [], left)[0]:
            os.read(wake, 4096)
        status = _reap(child)
        if status is not None:
            return status
    _signal_group(child, signal.SIGKILL)
    return 128 - os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_orphans() -> None:
    """Kill what was handed to this process when its parent ended, until nothing is left (Linux)."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(ChildProcessError, FileNotFoundError):
        while True:
            for pid in children.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
