"""Having the ledger know which images a run has begun, before it begins them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Final

from dlcs_assets.ledger.attempts import ClaimLostError

TOGETHER: Final = 8

# Given requests, notes that work on them begins; returns those that the run still holds.
Begin = Callable[[Sequence[str]], Collection[str]]


class Beginnings:
    """Begins requests that a run holds, in their order, `together` of them in one transaction.

    If the process dies, they are those that may be why: images in progress, and up to a group of those that come next.
    """

    def __init__(self, begin: Begin, request_ids: Sequence[str], together: int = TOGETHER) -> None:
        self._begin = begin
        self._waiting = list(request_ids)
        self._together = together
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, request_id: str) -> None:
        """Return when the ledger knows that work on the request begins. Raises ClaimLostError if it is not held."""
        with self._lock:
            if request_id in self._waiting:
                first = self._waiting.index(request_id)
                group = self._waiting[first : first + self._together]
                self._held.update(self._begin(group))
                del self._waiting[first : first + self._together]
            held = request_id in self._held
        if not held:
            raise ClaimLostError(f"request {request_id} is no longer this run's to work on")
