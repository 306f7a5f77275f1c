"""The numbers of an hour, a day or a month, in bars of equal length; what is over is counted once.

A month of a large installation takes seconds to count. A page does not wait for it: it counts the newest bars for as
long as it may, keeps what it has, and the next page continues.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.rates import Ended, Rates

BUDGET: Final = timedelta(seconds=1)
SETTLED: Final = timedelta(minutes=2)  # after its end, a bar is what it is; but for images that are tried again later
MOST_KEPT: Final = 2000


class Period(StrEnum):
    """What the numbers are over."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def bar(self) -> timedelta:
        """How long a bar is."""
        return {
            Period.HOUR: timedelta(minutes=1),
            Period.DAY: timedelta(minutes=15),
            Period.MONTH: timedelta(hours=6),
        }[self]

    @property
    def bars(self) -> int:
        """How many bars there are."""
        return {Period.HOUR: 60, Period.DAY: 96, Period.MONTH: 120}[self]


@dataclass(frozen=True, slots=True)
class Bar:
    """What ended in a time, and how long a stage took in it, in seconds."""

    since: datetime
    ended: Ended
    seconds: dict[Stage, float]


class Numbers:
    """Counts bars, and keeps those that are over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[timedelta, datetime], Bar] = {}

    def bars(self, rates: Rates, period: Period, now: datetime) -> list[Bar | None]:
        """Return the bars, the oldest one first; None for those that were not counted yet."""
        length = period.bar
        newest = datetime.fromtimestamp(now.timestamp() // length.total_seconds() * length.total_seconds(), UTC)
        began = self._clock()
        found: list[Bar | None] = []
        for number in range(period.bars):
            since = newest - number * length
            bar = self._kept.get((length, since))
            if bar is None and (number == 0 or self._clock() - began < BUDGET.total_seconds()):
                bar = Bar(since, rates.ended(since, since + length), rates.seconds(since, since + length))
                if now - since - length > SETTLED:
                    self._keep(length, bar)
            found.append(bar)
        return found[::-1]

    def _keep(self, length: timedelta, bar: Bar) -> None:
        with self._lock:
            while len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]  # the one that was counted first
            self._kept[length, bar.since] = bar
