from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from itertools import count

import pytest

from dlcs_assets.ingest.chunk import DaemonThreads


def test_results_are_in_the_order_of_the_calls() -> None:
    threads = DaemonThreads(3, "test")
    assert list(threads.map(lambda number: number * 2, range(20))) == [number * 2 for number in range(20)]
    threads.abandon(None)


def test_no_more_threads_work_than_are_allowed() -> None:
    threads, at_once, most, lock = DaemonThreads(2, "test"), 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.005)
        with lock:
            at_once -= 1

    list(threads.map(work, range(20)))
    threads.abandon(None)
    assert most == 2


def test_an_error_is_raised_to_the_caller() -> None:
    threads = DaemonThreads(1, "test")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result()
    assert threads.submit(lambda: 1).result() == 1
    threads.abandon(None)


def test_abandoned_threads_cancel_what_was_not_begun() -> None:
    """A call that hangs is left behind after the grace period: it must not keep the run from ending."""
    threads, begun, never = DaemonThreads(1, "test"), threading.Event(), threading.Event()
    numbers = count()

    def hang() -> None:
        begun.set()
        never.wait()

    threads.submit(hang)
    waiting = threads.submit(lambda: next(numbers))
    assert begun.wait(10)
    threads.abandon(0.05)
    with pytest.raises(CancelledError):
        waiting.result()
    never.set()
    threads.abandon(None)
    assert next(numbers) == 0
