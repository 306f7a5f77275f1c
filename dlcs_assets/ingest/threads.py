"""Threads for images and thumbnails that do not keep a process alive which is told to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(Executor):
    """Like `ThreadPoolExecutor`, whose threads are waited for at the end of a process, however long they take.

    A thread that waits for the answer of a service cannot be interrupted; an orchestrator that stops a task kills it
    half a minute later.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it called in a thread, as soon as one is free."""
        future: Future[T] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        with self._lock:
            if len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
                self._threads[-1].start()
        return future

    def abandon(self, seconds: float | None) -> None:
        """Begin nothing more, and wait for what is in work, at most so long."""
        with suppress(Empty):
            while waiting := self._work.get_nowait():
                waiting[0].cancel()
        for _ in self._threads:
            self._work.put(None)
        give_up = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if give_up is None else max(0.0, give_up - time.monotonic()))

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            _fulfil(*work)


def _fulfil(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is whoever waits for the result that is to see it)
        future.set_exception(error)
