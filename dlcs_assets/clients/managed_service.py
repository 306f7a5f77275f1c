"""What the clients of services that we run have in common: they press gently, and give up at once on what is down."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import httpx

from dlcs_assets.clients.backpressure import AimdLimiter, CircuitBreaker, Signal
from dlcs_assets.clients.file_semaphore import FileSemaphore
from dlcs_assets.clients.http import HttpService, Peer, error_of_exception
from dlcs_assets.domain.errors import ServiceDownError

_OVERLOADED: Final = frozenset({429, 503, 504})
_SERVER_ERRORS: Final = 500  # and above


@dataclass
class Turn:
    """A place in flight. Whoever holds it notes the status of the answer, once that has come as a whole."""

    client: httpx.Client
    status: int | None = None


@dataclass(kw_only=True, eq=False)
class ManagedService(HttpService):
    """A service of ours. `in_flight` holds over all processes that share `slots_folder`, where there is one."""

    peer: ClassVar[Peer]

    url: str
    slots_folder: str | None = None
    slowdown: float = 2.0
    circuit_failures: int = 5
    circuit_pause_seconds: float = 5.0

    # How many requests this process may have in flight, and whether calls are made at all.
    limit: AimdLimiter = field(init=False, repr=False)
    circuit: CircuitBreaker = field(init=False, repr=False)
    _shared: FileSemaphore | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limit = AimdLimiter(self.in_flight, slowdown=self.slowdown)
        self.circuit = CircuitBreaker(self.circuit_failures, self.circuit_pause_seconds)
        self._shared = None
        if self.slots_folder is not None:
            # By its address: several stacks on one machine have nothing to share.
            own = f"{self.peer.code}-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"
            self._shared = FileSemaphore(Path(self.slots_folder) / own, self.in_flight)

    @contextmanager
    def turn(self, url: str) -> Iterator[Turn]:
        """Hold a place in flight for one attempt. Raises CircuitOpenError, and the errors that httpx's mean."""
        limit = self.limit
        shared = self._shared.hold() if self._shared else nullcontext()
        with limit.place(), shared, self.circuit.call() as call:
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


def _verdict_of_error(error: Exception) -> Signal:
    return Signal.OVERLOADED if isinstance(error, httpx.TimeoutException) else Signal.FAILED


def _verdict_of_status(status: int) -> Signal:
    if status in _OVERLOADED:
        return Signal.OVERLOADED
    return Signal.FAILED if status >= _SERVER_ERRORS else Signal.WELL
