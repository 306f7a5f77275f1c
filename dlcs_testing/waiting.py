"""Waiting for what happens in other processes: conditions with a deadline, and what was seen last if it passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS, MAX_POLL_SECONDS = 0.2, 1.0
T = TypeVar("T")


def eventually(look: Callable[[], T], wanted: Callable[[T], bool] = bool, *, timeout: float = 60) -> T:
    """Return what `look` returns as soon as it is as wanted; fail after `timeout` seconds with what it was last."""
    began = time.monotonic()
    while not wanted(seen := look()):
        waited = time.monotonic() - began
        if waited > timeout:
            raise AssertionError(f"Not as wanted after {timeout} s; last seen:\n{seen!r}")
        time.sleep(min(max(POLL_SECONDS, waited / 10), MAX_POLL_SECONDS))  # what takes long may take a little longer
    return seen
