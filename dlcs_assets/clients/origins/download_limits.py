"""Limits of a download, checked at every packet: time in all, bytes of headers, and its lowest rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import httpx

from dlcs_assets.clients.http import check_deadline
from dlcs_assets.clients.origins.strategy import Limits

# Of the headers of one answer, with interim answers before and what came of the body in the same packet. Below what h11
# reads at most (100 KB), so that it is reported as what it is.
_MAX_HEAD_BYTES: Final = 96 * 1024


class TooSlowError(httpx.TransportError):
    """An answer came, but below the lowest rate."""


class HeadersTooLargeError(httpx.TransportError):
    """The headers of an answer, or interim answers before it, are longer than the limit."""


class DownloadLimits:
    """The watch over one download, with all of its redirects.

    The rate is that of the time spent waiting, from the first byte of an answer: what we do with the bytes is not the
    origin's slowness, and until it begins the limit of the time between two packets holds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = time.monotonic() + limits.whole
        self._head_bytes: int | None = 0
        self._begun = False
        self._waited = 0.0
        self._bytes = 0

    def begin_head(self) -> None:
        """Note that an answer is awaited."""
        self._head_bytes = 0
        self._begun = False

    def begin_body(self) -> None:
        """Note that the headers of an answer are complete."""
        self._head_bytes = None

    def seconds_left(self, at_most: float | None) -> float:
        """Return how long may be waited now. Raises httpx.ReadTimeout if there is no time left."""
        check_deadline(self._deadline)
        left = max(self._deadline - time.monotonic(), 0.001)
        return left if at_most is None else min(left, at_most)

    def receive(self, read: Callable[[float], bytes], at_most: float | None) -> bytes:
        """Call `read` with its time limit in seconds. Raises httpx.ReadTimeout, TooSlowError, HeadersTooLargeError."""
        seconds = self.seconds_left(at_most)
        began = time.monotonic()
        data = read(seconds)
        self._count(len(data), time.monotonic() - began)
        return data

    def _count(self, length: int, seconds: float) -> None:
        if self._head_bytes is not None:
            self._head_bytes += length
            if self._head_bytes > _MAX_HEAD_BYTES:
                raise HeadersTooLargeError(f"more than {_MAX_HEAD_BYTES} bytes of headers")
        if not self._begun:
            self._begun, self._waited, self._bytes = True, 0.0, length
            return
        self._waited += seconds
        self._bytes += length
        if self._waited >= self._limits.rate_window:
            if self._bytes < self._limits.lowest_rate * self._waited:
                raise TooSlowError(f"less than {self._limits.lowest_rate} bytes a second")
            self._waited, self._bytes = 0.0, 0


_current: ContextVar[DownloadLimits] = ContextVar("watch")


@contextmanager
def watching(watch: DownloadLimits) -> Iterator[None]:
    """Have this thread's downloads watched: connections outlive them, so they can't carry it themselves."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


def current_watch() -> DownloadLimits:
    """Return the watch over this thread's download."""
    return _current.get()
