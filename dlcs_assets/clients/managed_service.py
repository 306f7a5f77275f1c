"""What the clients of services that we run have in common: they press gently, and give up at once on what is down."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import httpx
from pydantic import Field, PrivateAttr

from dlcs_assets.clients.backpressure import AimdLimiter, CircuitBreaker, Signal
from dlcs_assets.clients.file_semaphore import FileSemaphore
from dlcs_assets.clients.http import HttpService, Peer, error_of_exception
from dlcs_assets.clients.lazy import Lazy
from dlcs_assets.domain.errors import ServiceDownError

_OVERLOADED: Final = frozenset({429, 503, 504})
_SERVER_ERRORS: Final = 500  # and above


@dataclass
class Turn:
    """A place in flight. Whoever holds it notes the status of the answer, once that has come as a whole."""

    client: httpx.Client
    status: int | None = None


class ManagedService(HttpService):
    """A service of ours. `in_flight` holds over all processes that share `slots_folder`, where there is one."""

    peer: ClassVar[Peer]

    url: str = Field(description="Base URL of the service.")
    slots_folder: str | None = Field(
        default=None, description="Folder of the locks by which processes share the places in flight."
    )
    slowdown: float = Field(
        default=2.0, gt=1, description="Answers that take so many times as long as at their quickest are too slow."
    )
    circuit_failures: int = Field(
        default=5, ge=1, description="Calls in a row that find the service down until it is left alone."
    )
    circuit_pause_seconds: float = Field(
        default=5.0, ge=0, description="How long a service that is down is left alone before one call tries it again."
    )

    _limit: Lazy[AimdLimiter] = PrivateAttr(default_factory=Lazy)
    _circuit: Lazy[CircuitBreaker] = PrivateAttr(default_factory=Lazy)
    _shared: Lazy[FileSemaphore] = PrivateAttr(default_factory=Lazy)

    @property
    def limit(self) -> AimdLimiter:
        """How many requests this process may have in flight."""
        return self._limit.get(lambda: AimdLimiter(self.in_flight, slowdown=self.slowdown))

    @property
    def circuit(self) -> CircuitBreaker:
        """Whether calls are made at all."""
        return self._circuit.get(lambda: CircuitBreaker(self.circuit_failures, self.circuit_pause_seconds))

    @contextmanager
    def turn(self, url: str) -> Iterator[Turn]:
        """Hold a place in flight for one attempt. Raises CircuitOpenError, and the errors that httpx's mean."""
        limit = self.limit
        with limit.place(), self._shared_place(), self.circuit.call() as call:
            began = time.monotonic()
            turn = Turn(self.client)
            try:
                yield turn
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                meaning = error_of_exception(error, self.peer, url)
                if isinstance(meaning, ServiceDownError):
                    call.down = meaning
                else:
                    limit.ended(began, _verdict_of_error(error))
                raise meaning from error
            if turn.status is not None:
                call.answered = True
                limit.ended(began, _verdict_of_status(turn.status))

    @contextmanager
    def _shared_place(self) -> Iterator[None]:
        if self.slots_folder is None:
            yield
            return
        # By its address: several stacks on one machine have nothing to share.
        own = Path(self.slots_folder) / f"{self.peer.code}-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"
        with self._shared.get(lambda: FileSemaphore(own, self.in_flight)).hold():
            yield


def _verdict_of_error(error: Exception) -> Signal:
    return Signal.OVERLOADED if isinstance(error, httpx.TimeoutException) else Signal.FAILED


def _verdict_of_status(status: int) -> Signal:
    if status in _OVERLOADED:
        return Signal.OVERLOADED
    return Signal.FAILED if status >= _SERVER_ERRORS else Signal.WELL
