from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from itertools import count

import pytest

from dlcs_assets.ingest.threads import DaemonThreads


def test_results_come_in_the_order_of_what_was_asked() -> None:
    threads = DaemonThreads(3, "test")
    assert list(threads.map(lambda number: number * 2, range(20))) == [number * 2 for number in range(20)]
    threads.abandon(None)


def test_no_more_threads_are_at_work_than_were_allowed() -> None:
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


def test_an_error_is_the_askers() -> None:
    threads = DaemonThreads(1, "test")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result()
    assert threads.submit(lambda: 1).result() == 1
    threads.abandon(None)


def test_what_was_not_begun_is_cancelled_and_what_hangs_is_left_behind() -> None:
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
