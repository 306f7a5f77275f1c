"""Waiting for what happens in other processes: conditions with a deadline, and what was seen last if it passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.2
T = TypeVar("T")


def eventually(look: Callable[[], T], wanted: Callable[[T], bool] = bool, *, timeout: float = 60) -> T:
    """Return what `look` returns as soon as it is as wanted; fail after `timeout` seconds with what it was last."""
    deadline = time.monotonic() + timeout
    while not wanted(seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Not as wanted after {timeout} s; last seen:\n{seen!r}")
        time.sleep(POLL_SECONDS)
    return seen
