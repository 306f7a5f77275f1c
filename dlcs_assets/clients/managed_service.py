"""What the clients of internal services share: backpressure, and a circuit breaker for when one is down."""

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
class Permit:
    """The right to one request. The caller sets the status once the whole answer has come."""

    client: httpx.Client
    status: int | None = None


@dataclass(kw_only=True, eq=False)
class ManagedService(HttpService):
    """An internal service. `in_flight` is for all processes together that share `slots_folder`, where there is one."""

    peer: ClassVar[Peer]

    url: str
    slots_folder: str | None = None
    slowdown: float = 2.0
    circuit_failures: int = 5
    circuit_pause_seconds: float = 5.0

    # The permits of this process, and whether calls are made at all.
    limit: AimdLimiter = field(init=False, repr=False)
    circuit: CircuitBreaker = field(init=False, repr=False)
    _shared: FileSemaphore | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limit = AimdLimiter(self.in_flight, slowdown=self.slowdown)
        self.circuit = CircuitBreaker(self.circuit_failures, self.circuit_pause_seconds)
        self._shared = None
        if self.slots_folder is not None:
            # By its address: several stacks on one machine share nothing.
            own = f"{self.peer.code}-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"
            self._shared = FileSemaphore(Path(self.slots_folder) / own, self.in_flight)

    @contextmanager
    def permit(self, url: str, *, about: str | None = None) -> Iterator[Permit]:
        """Hold a permit for one attempt. Raises CircuitOpenError, and httpx's errors as those of the error tree.

        `about` names what the request is about, where its failures may be the fault of that.
        """
        limit = self.limit
        shared = self._shared.acquire() if self._shared else nullcontext()
        with limit.acquire(), shared, self.circuit.call() as call:
            began = time.monotonic()
            permit = Permit(self.client)
            try:
                yield permit
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                meaning = error_of_exception(error, self.peer, url)
                if isinstance(meaning, ServiceDownError):
                    # As of the service: images that are not asked for meanwhile repeat it, and this URL is another's.
                    of_service = error_of_exception(error, self.peer, self.url)
                    assert isinstance(of_service, ServiceDownError)
                    call.down = of_service
                else:
                    limit.ended(began, _signal_of_error(error), about=about)
                raise meaning from error
            if permit.status is not None:
                call.answered = True
                limit.ended(began, _signal_of_status(permit.status), about=about)


def _signal_of_error(error: Exception) -> Signal:
    return Signal.OVERLOADED if isinstance(error, httpx.TimeoutException) else Signal.FAILED


def _signal_of_status(status: int) -> Signal:
    if status in _OVERLOADED:
        return Signal.OVERLOADED
    # 501 is the answer to a request, not a failure: this is not made, or not of this.
    is_failure = status >= _SERVER_ERRORS and status != httpx.codes.NOT_IMPLEMENTED
    return Signal.FAILED if is_failure else Signal.GOOD
