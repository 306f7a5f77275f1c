"""Connections to the history, kept open for as long as the process uses them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import Engine

# Each run has a file of its own: those of the runs that were looked at last, beside the three that all share.
KEPT: Final = 24


class Engines:
    """Engines by their address; the one that was not used for longest is closed when there are too many.

    For the whole process, not for each Dagster instance: the code server makes one for every tick.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Engine] = OrderedDict()
        self._ready: set[str] = set()
        self._lock = threading.Lock()

    def of(self, address: str, make: Callable[[], Engine]) -> Engine:
        """Return the engine of an address, with its open connections, or make it."""
        with self._lock:
            engine = self._kept.get(address)
            if engine is None:
                engine = self._kept[address] = make()
            self._kept.move_to_end(address)
            while len(self._kept) > KEPT:
                self._close(next(iter(self._kept)))
            return engine

    def is_ready(self, address: str) -> bool:
        """Tell whether this process has seen the tables of an address in place."""
        return address in self._ready

    def note_ready(self, address: str) -> None:
        """Remember that the tables of an address are in place."""
        self._ready.add(address)

    def forget(self) -> None:
        """Close all: the files are to go."""
        with self._lock:
            for address in list(self._kept):
                self._close(address)
            self._ready.clear()

    def _close(self, address: str) -> None:
        # A connection that is in use is closed when it is given back.
        self._kept.pop(address).dispose()
        self._ready.discard(address)
