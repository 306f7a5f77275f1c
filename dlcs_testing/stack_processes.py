"""The processes of a running stack, by what they are, and the memory that they take."""

from __future__ import annotations

from contextlib import suppress

import psutil

from dlcs_stack.data_folder import read_state
from dlcs_stack.stack import Component, RunningStack


def of_service(stack: RunningStack, component: Component) -> list[psutil.Process]:
    """List all processes of a service but the guard that watches over them."""
    return guard_of(stack, component).children(recursive=True)


def guard_of(stack: RunningStack, component: Component) -> psutil.Process:
    """Return the process that watches over a service, and adopts what its processes leave behind."""
    return psutil.Process(read_state(stack.data).services[component])


def daemon(stack: RunningStack) -> psutil.Process:
    """Return the process that evaluates sensors and launches runs. Raises NoSuchProcess while there is none."""
    guard = guard_of(stack, Component.DAEMON)
    # Not the first that comes: the guard adopts what killed processes leave behind.
    found = [child for child in guard.children() if _has(child, "dagster-daemon")]
    if not found:
        raise psutil.NoSuchProcess(guard.pid)
    return found[0]


def runs(stack: RunningStack) -> list[psutil.Process]:
    """List the processes of runs: forks of the fork server, which is a child of the daemon."""
    parent = daemon(stack).pid
    forks = [child for child in of_service(stack, Component.DAEMON) if _has(child, "multiprocessing.forkserver")]
    return [fork for fork in forks if _parent(fork) != parent]


def resident_megabytes(process: psutil.Process) -> float:
    """Return what the process has in memory at this moment, shared pages included; nothing of one that ended."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return float(process.memory_info().rss) / 2**20
    return 0.0


def _has(process: psutil.Process, word: str) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return any(word in part for part in process.cmdline())
    return False


def _parent(process: psutil.Process) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None
