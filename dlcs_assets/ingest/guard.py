"""Whether a run still holds its images: read once a second for all of them, and asked by each before it publishes."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.ledger import Ledger

log = logging.getLogger(__name__)

READ_EVERY_SECONDS: Final = 1.0
TRUSTED_FOR_SECONDS: Final = 2.0
# Continues while the machine sleeps, where there is such a clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Guard:
    """Reads in a thread of its own which images a token holds, until it is stopped.

    What it read is trusted for two seconds. If it is older, because the process stood still or the database did not
    answer, a check reads again first: a run that wakes after an hour publishes nothing by what it knew before.
    """

    def __init__(self, ledger: Ledger, token: str) -> None:
        self._ledger = ledger
        self._token = token
        self._held: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)
        self._thread.start()

    def check(self, asset_id: AssetId, *, trusted_for: float = TRUSTED_FOR_SECONDS) -> None:
        """Raise ClaimLostError unless the token held the image so many seconds ago at most. 0: at this moment."""
        asked_at = time.clock_gettime(_CLOCK)
        if not self._is_fresh(asked_at - trusted_for):
            with self._reading:
                if not self._is_fresh(asked_at - trusted_for):  # another thread may have read meanwhile
                    self._read()
        if str(asset_id) not in self._held:
            raise ClaimLostError(f"{asset_id} is no longer this run's to work on")

    def stop(self, grace_seconds: float | None = None) -> None:
        """Stop, and wait until a reading in progress has ended, up to this time (None: without a limit)."""
        self._stop.set()
        self._thread.join(grace_seconds)

    def _is_fresh(self, not_before: float) -> bool:
        return self._read_at is not None and self._read_at >= not_before

    def _read(self) -> None:
        began = time.clock_gettime(_CLOCK)
        self._held = self._ledger.claims.held_under(self._token)
        self._read_at = began

    def _watch(self) -> None:
        while not self._stop.wait(READ_EVERY_SECONDS):
            try:
                with self._reading:
                    self._read()
            except Exception:  # those who ask read for themselves then, and get the error
                log.exception("the claims of a run could not be read")
