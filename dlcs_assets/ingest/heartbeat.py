"""Renewing a run's claims while it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from dlcs_assets.ledger.ledger import Ledger

log = logging.getLogger(__name__)


class Heartbeat:
    """Renews all claims under a token, in a thread of its own, until it is stopped."""

    def __init__(self, ledger: Ledger, token: str, every: timedelta) -> None:
        self._ledger = ledger
        self._token = token
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def stop(self, grace_seconds: float | None = None) -> None:
        """Stop, and wait until a beat in progress has ended, up to this time (None: without a limit)."""
        self._stop.set()
        self._thread.join(grace_seconds)

    def _beat(self) -> None:
        while not self._stop.wait(self._every.total_seconds()):
            try:
                self._ledger.claims.heartbeat(self._token, now=datetime.now(UTC))
            except Exception:  # one missed beat is no reason to give up: claims outlive several
                log.exception("heartbeat failed")


@contextmanager
def kept_alive(ledger: Ledger, token: str, every: timedelta) -> Iterator[None]:
    """Keep the claims under a token alive."""
    heartbeat = Heartbeat(ledger, token, every)
    try:
        yield
    finally:
        heartbeat.stop()
