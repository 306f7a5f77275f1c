"""What each customer has stored: summed up in the background, because it is a sum of rows of every stored object."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dlcs_assets.ledger.accounting import Accounting, Usage

FRESH: Final = timedelta(minutes=10)
_PATIENCE_SECONDS: Final = 0.5  # of the first page: in a small ledger it is there by then
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Summed:
    """What there was at a moment, by customer and space."""

    at: datetime
    spaces: Sequence[Usage]


class Totals:
    """Sums up again when what it has is old, one sum at a time; meanwhile it returns what it has."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="totals")
        self._running: Future[None] | None = None
        self._summed: Summed | None = None

    def get(self, accounting: Accounting) -> Summed | None:
        """Return the last sums; None while the first ones are being made."""
        with self._lock:
            summed = self._summed
            is_old = summed is None or self._clock() - summed.at > FRESH
            if is_old and (self._running is None or self._running.done()):
                self._running = self._worker.submit(self._sum_up, accounting)
            running = self._running
        if summed is None and running is not None:
            try:
                running.result(timeout=_PATIENCE_SECONDS)
            except TimeoutError:
                return None
        with self._lock:
            return self._summed

    def close(self) -> None:
        """Wait for the sum that is being made, if any."""
        self._worker.shutdown()

    def _sum_up(self, accounting: Accounting) -> None:
        began = self._clock()
        try:
            found = accounting.by_space()
        except Exception as error:  # noqa: BLE001 (whatever it is: the next page tries again)
            _log.warning("What is stored cannot be summed up: %s", type(error).__name__)
            return
        with self._lock:
            self._summed = Summed(began, found)
