"""What a client needs when it is first used: made once for all threads, closed at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")


class Closable(Protocol):
    """What holds connections."""

    def close(self) -> None:
        """Close them."""


C = TypeVar("C", bound=Closable)


class Lazy(Generic[T]):
    """Holds one value. `take` empties it, so that closing a client leaves none behind."""

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


@dataclass(kw_only=True, eq=False)
class LazyClient(Generic[C]):
    """A client that connects when it is first used. As a context manager it closes its connections at the end."""

    _client: Lazy[C] = field(default_factory=Lazy, init=False, repr=False)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        client = self._client.take()
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
