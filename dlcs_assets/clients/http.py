"""What the clients of HTTP services share: a connection pool, a limit in flight, and the errors of the error tree."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import CookieJar
from ssl import SSLCertVerificationError, SSLContext
from typing import Final

import httpx

from dlcs_assets.clients.lazy import LazyClient
from dlcs_assets.clients.retrying import Retrying, parse_retry_after
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError, is_retryable
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.logs import keep_libraries_quiet

_SPARE_CONNECTIONS: Final = 2  # for requests that need no permit
_AUTHORITIES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Peer:
    """The service that a client calls, as its errors name it.

    `code` is the first part of their codes. `is_internal` says that we run it: when it does not answer, every image
    waits.
    """

    name: str
    code: str
    is_internal: bool
    remedy: str


@dataclass(kw_only=True, eq=False)
class HttpService(LazyClient[httpx.Client]):
    """An HTTP client, usable by many threads: up to `in_flight` requests at a time, repeated by `retrying`."""

    in_flight: int = 8
    connect_timeout_seconds: float = 5.0
    timeout_seconds: float = 60.0
    attempts: int = 4
    retry_budget_seconds: float = 300.0
    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 20.0

    _permits: threading.BoundedSemaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._permits = threading.BoundedSemaphore(self.in_flight)

    @contextmanager
    def acquire(self) -> Iterator[httpx.Client]:
        """Hold a permit for one attempt: none is held during the pause before the next one."""
        with self._permits:
            yield self.client

    @property
    def client(self) -> httpx.Client:
        """The one client, for requests that must not wait for a permit, such as whether the service is up."""
        return self._client.get(self.make_client)

    @property
    def retrying(self) -> Retrying:
        """How calls of this service are repeated."""
        return Retrying(self.attempts, self.retry_budget_seconds, self.first_delay_seconds, self.longest_delay_seconds)

    def make_client(self) -> httpx.Client:
        """Make the one client. Internal services are not behind a proxy, so the environment's is ignored."""
        keep_libraries_quiet()
        return httpx.Client(
            timeout=httpx.Timeout(self.timeout_seconds, connect=self.connect_timeout_seconds, pool=None),
            limits=httpx.Limits(max_connections=self.in_flight + _SPARE_CONNECTIONS),
            headers={"User-Agent": "DLCS/2.0"},
            cookies=no_cookies(),
            verify=tls_context(trust_env=False),
            trust_env=False,
        )


def tls_context(*, trust_env: bool) -> SSLContext:
    """Return what clients of this process need for TLS, by the authorities that httpx trusts.

    With `trust_env` these are the environment's, where it names any. Clients share it: that each reads the certificates
    of all authorities takes longer than some images do.
    """
    named = tuple(os.environ.get(name) for name in _AUTHORITIES) if trust_env else ()
    return _tls_context(named, trust_env=trust_env)


@lru_cache(maxsize=4)
def _tls_context(_named: tuple[str | None, ...], *, trust_env: bool) -> SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


class _NoCookies(CookieJar):
    """A jar that stays empty, and does not even read what it is given."""

    def extract_cookies(self, *_: object) -> None:
        """Keep nothing."""


def no_cookies() -> CookieJar:
    """Return a jar that keeps nothing: a shared client must not carry one customer's cookies to the next."""
    return _NoCookies()


class BodyTooLongError(Exception):
    """A response body is longer than the limit."""


def read_body(response: httpx.Response, *, max_bytes: int, deadline: float) -> bytes:
    """Read a streamed response into memory.

    `deadline` is a moment of `time.monotonic()`: read timeouts are between two packets, and a body that trickles
    would never end by them alone. Raises BodyTooLongError, httpx.ReadTimeout and other httpx errors.
    """
    parts = []
    length = 0
    for part in response.iter_bytes():
        length += len(part)
        if length > max_bytes:
            raise BodyTooLongError(f"more than {max_bytes} bytes")
        check_deadline(deadline)
        parts.append(part)
    return b"".join(parts)


def check_deadline(deadline: float) -> None:
    """Raise httpx.ReadTimeout if that moment of `time.monotonic()` is past."""
    if time.monotonic() > deadline:
        raise httpx.ReadTimeout("the time limit for the whole answer is over")


def error_of_exception(error: httpx.HTTPError | httpx.InvalidURL, peer: Peer, url: str) -> IngestError:
    """Return the error of the error tree for a request that got no answer."""
    where = f"{peer.name} at {shown_url(url)}"
    kind, what, cause = _classify(error, peer)
    return kind(f"{peer.code}_{what}", f"{where} {cause}", remedy=peer.remedy)


def _classify(error: httpx.HTTPError | httpx.InvalidURL, peer: Peer) -> tuple[type[IngestError], str, str]:
    found: tuple[type[IngestError], str, str]
    # Of an answer that is no HTTP h11 quotes the line, behind a colon: a header, perhaps with a cookie.
    text = str(error).partition(":")[0] if isinstance(error, httpx.RemoteProtocolError) else str(error)
    said = one_line(text, limit=200)
    match error:
        case httpx.ConnectError() if not peer.is_internal and _is_certificate_error(error):
            found = PermanentError, "certificate_invalid", "has no valid TLS certificate"
        case httpx.ConnectError() | httpx.ConnectTimeout() if peer.is_internal:
            found = ServiceDownError, "down", f"can't be reached: {said or 'no answer in time'}"
        case httpx.ConnectError() | httpx.ConnectTimeout():
            found = TransientError, "unreachable", f"can't be reached: {said or 'no answer in time'}"
        case httpx.TimeoutException():
            found = TransientError, "timeout", "took too long to answer"
        case httpx.TooManyRedirects():
            found = PermanentError, "redirects", "redirects without end"
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | httpx.LocalProtocolError():
            # Their texts quote the URL or the headers, which may hold secrets.
            found = PermanentError, "address_invalid", "is not, or leads not to, a valid HTTP URL"
        case _:
            found = TransientError, "broke_off", f"broke off its answer: {said or type(error).__name__}"
    return found


def error_of_status(status: int, headers: Mapping[str, str], peer: Peer, url: str, *, detail: str = "") -> IngestError:
    """Return the error of the error tree for an answer that is no success, where the client has none of its own."""
    cause = f"{peer.name} answered {status} for {shown_url(url)}{': ' if detail else ''}{detail}"
    if is_retryable(status):
        return TransientError(
            f"{peer.code}_unavailable",
            cause,
            remedy=peer.remedy,
            retry_after=parse_retry_after(headers.get("retry-after")),
        )
    return PermanentError(f"{peer.code}_refused", cause, remedy=peer.remedy)


def one_line(text: str, *, limit: int = 500) -> str:
    """Return a service's text as one printable line of up to `limit` characters."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _is_certificate_error(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
