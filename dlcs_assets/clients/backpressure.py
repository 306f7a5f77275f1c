"""Backpressure: a limit in flight that follows a service's answers, and a circuit breaker for when it is down."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from statistics import fmean
from typing import Final

from dlcs_assets.clients.retrying import CircuitOpenError
from dlcs_assets.domain.errors import ServiceDownError

_FIRST_LIMIT: Final = 4
_SAMPLE: Final = 10  # answers whose mean latency is compared


class Signal(Enum):
    """What an answer says about the load. The value is what the limit is multiplied by."""

    GOOD = 1.0
    FAILED = 0.9  # perhaps for reasons of its own
    TOO_SLOW = 0.75
    OVERLOADED = 0.5


class AimdLimiter:
    """Additive increase, multiplicative decrease: a permit more per round of good answers, fewer after others at once.

    A round is as many answers as there are permits. Growing latency is a mean of ten answers or more that is `slowdown`
    times the least mean so far; with a single permit the latency is not of our making, and is the new measure.
    """

    def __init__(self, ceiling: int, *, slowdown: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ceiling = ceiling
        self._slowdown = slowdown
        self._clock = clock
        self._limit = float(min(ceiling, _FIRST_LIMIT))
        self._in_flight = 0
        self._changed = threading.Condition()
        self._cut_at = -math.inf
        self._latencies: list[float] = []
        self._least = math.inf
        self._is_slow = False
        self._failing: set[str] = set()

    @property
    def permits(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for a permit, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight < self.permits)
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def ended(self, began: float, signal: Signal, *, about: str | None = None) -> None:
        """Note the answer to a request that began at that moment of the clock, and still holds its permit.

        Failures that are `about` the same thing, one after the other, count once: they say nothing of the load.
        """
        with self._changed:
            if about is not None and self._is_repeated(signal, about):
                return
            if began < self._cut_at:
                return  # it was measured under the load before the last cut
            if signal is not Signal.GOOD:
                self._cut(signal)
                return
            if self._in_flight >= self.permits and not self._is_slow:
                self._limit = min(self._ceiling, self._limit + 1 / self._limit)
            self._latencies.append(self._clock() - began)
            if len(self._latencies) >= max(_SAMPLE, self.permits):
                self._compare(fmean(self._latencies))

    def _is_repeated(self, signal: Signal, about: str) -> bool:
        if signal is Signal.FAILED:
            if about in self._failing:
                return True
            self._failing.add(about)
        elif signal is Signal.GOOD:
            self._failing.discard(about)
        return False

    def _compare(self, latency: float) -> None:
        self._latencies.clear()
        # While it is, nothing is added: otherwise a few permits would be won back before the next comparison.
        self._is_slow = latency > self._slowdown * self._least and self.permits > 1
        if self._is_slow:
            self._cut(Signal.TOO_SLOW)
        else:
            self._least = latency if self.permits == 1 else min(latency, self._least)

    def _cut(self, signal: Signal) -> None:
        self._limit = max(1.0, self._limit * signal.value)
        if signal is not Signal.FAILED:
            self._cut_at = self._clock()
            self._latencies.clear()


@dataclass
class Call:
    """A call that the circuit let through. The caller sets how it ended.

    `down` is what is raised in place of calls that are not made: it must be true of the service, whatever they ask.
    """

    answered: bool = False
    down: ServiceDownError | None = None


class CircuitBreaker:
    """Opens when `failures` calls in a row find the service down; then one call at a time tries whether it is back."""

    def __init__(self, failures: int, pause_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = failures
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._probe_at: float | None = None  # None: closed
        self._probing = False
        self._last: ServiceDownError | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls fail without having been made."""
        return self._probe_at is not None

    @contextmanager
    def call(self) -> Iterator[Call]:
        """Let a call through, or raise CircuitOpenError."""
        probe = self._enter()
        call = Call()
        try:
            yield call
        finally:
            self._leave(call, probe=probe)

    def _enter(self) -> bool:
        with self._lock:
            if self._probe_at is None:
                return False
            if self._probing or self._clock() < self._probe_at:
                assert self._last is not None
                raise CircuitOpenError(
                    self._last.code, f"{self._last.cause}; it was not called again yet", remedy=self._last.remedy
                )
            self._probing = True
            return True

    def _leave(self, call: Call, *, probe: bool) -> None:
        with self._lock:
            if probe:
                self._probing = False
            if call.answered:
                self._failures, self._probe_at = 0, None
                return
            if call.down is not None:
                self._failures += 1
                self._last = call.down
            # Neither answered nor down, such as one that was reset: no proof that the service is back.
            newly_open = self._probe_at is None and self._failures >= self._threshold
            if probe or newly_open:
                self._probe_at = self._clock() + self._pause_seconds
