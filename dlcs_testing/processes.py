"""Waiting for what happens in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil


def eventually(claim: Callable[[], bool], *, seconds: float = 20) -> bool:
    """Return whether the claim comes true within the time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def read_pid(path: Path) -> int:
    """Return the process id that another process writes to this file."""
    assert eventually(lambda: path.exists() and path.read_text().endswith("\n")), f"{path} was not written"
    return int(path.read_text())


def kill_service(guard: int) -> None:
    """Kill the process that the guard with this process id watches, and wait until both are gone."""
    (server,) = psutil.Process(guard).children()
    server.kill()
    assert eventually(lambda: not is_running(guard))


def is_running(pid: int) -> bool:
    """Return whether the process exists and is more than a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
