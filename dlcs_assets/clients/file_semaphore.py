"""Permits that all processes of a machine share, as locks on files: the kernel frees those of dead processes."""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LONGEST_PAUSE_SECONDS: Final = 0.02


class FileSemaphore:
    """`count` permits under a folder. Threads of one process queue for them; one thread at a time looks for one."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._looking = threading.Lock()

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for a permit, and hold it."""
        with self._looking:
            taken = self._take()
        try:
            yield
        finally:
            os.close(taken)

    def _take(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            # In random order, so that processes that search at the same time don't try the same file.
            for number in random.sample(range(self._count), self._count):
                if (taken := _lock(self._folder / f"{number}.lock")) is not None:
                    return taken
            time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 (no secret depends on it)


class FileBudget:
    """`units` of something under a folder, of which a holder takes several: those of a machine share what there is.

    Holders queue at a gate, so that what needs many units is not passed by indefinitely.
    """

    def __init__(self, folder: Path, units: int) -> None:
        self._folder = folder
        self.units = units

    @contextmanager
    def acquire(self, units: int) -> Iterator[None]:
        """Wait for a number of units, and hold them. Raises ValueError for more than there are."""
        if units > self.units:
            raise ValueError(f"{units} of {self.units} units are asked for")
        taken: dict[int, int] = {}
        try:
            if units:
                self._take(units, taken)
            yield
        finally:
            for descriptor in taken.values():
                os.close(descriptor)

    def _take(self, units: int, taken: dict[int, int]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        gate = os.open(self._folder / "gate", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            while True:
                for number in range(self.units):
                    if len(taken) == units:
                        return
                    if number not in taken and (lock := _lock(self._folder / f"{number}.unit")) is not None:
                        taken[number] = lock
                if len(taken) < units:
                    time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 (no secret depends on it)
        finally:
            os.close(gate)


def _lock(path: Path) -> int | None:
    # A descriptor of its own each time: a lock belongs to the descriptor, so it also holds between threads.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def permits_held(folder: Path) -> int:
    """Return how many permits under a folder are held, without keeping any process from one."""
    return sum(_is_held(path) for path in folder.glob("*.lock"))


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: a process that looks for a permit at this very moment takes another one, or looks again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
