"""A value that is made when it is first needed, once for all threads: clients and limits of resources."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """Holds one value. `take` empties it, so that whoever closes a client leaves none behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return the value, made by `make` if there is none yet."""
        with self._lock:
            if self._value is None:
                self._value = make()
            return self._value

    def take(self) -> T | None:
        """Return the value, if there is one, and forget it."""
        with self._lock:
            value, self._value = self._value, None
            return value
