"""The one client of all origins: retries, limits and credentials. The module of a strategy knows how it is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from dlcs_assets.clients.aws import S3ClientFactory, S3Clients
from dlcs_assets.clients.credentials import CredentialStore
from dlcs_assets.clients.http import HttpService
from dlcs_assets.clients.origins import s3_ambient, sftp, web
from dlcs_assets.clients.origins.addresses import resolve
from dlcs_assets.clients.origins.own_services import OwnService, OwnServices, own_service
from dlcs_assets.clients.origins.strategy import FetchOptions, Limits, OriginReader, Peeked
from dlcs_assets.clients.transfer import HEAD_BYTES, Fetched, PartialFile, TooManyBytesError, UnwantedError
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.networks import parse_network
from dlcs_assets.domain.origin import Origin, OriginStrategy
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.signed_url import was_signed

# A strategy is a module with the functions of `OriginReader`, a line here, and a line in `OriginStrategy`.
READERS: Final[Mapping[OriginStrategy, OriginReader]] = {
    OriginStrategy.DEFAULT: web,
    OriginStrategy.BASIC_HTTP: web,
    OriginStrategy.S3_AMBIENT: s3_ambient,
    OriginStrategy.SFTP: sftp,
}


@dataclass(kw_only=True, eq=False)
class Origins(HttpService):
    """The origins of all customers, by all strategies."""

    s3: S3ClientFactory
    max_bytes: int = 10 * 2**30
    timeout_seconds: float = 600.0
    read_timeout_seconds: float = 60.0
    connect_timeout_seconds: float = 10.0
    min_rate: int = 1000
    rate_window_seconds: float = 30.0
    private_networks: Sequence[str] = ()
    own_services: Sequence[str] = ()
    ledger_url: str | None = field(default=None, repr=False)
    attempts: int = 3
    retry_budget_seconds: float = 900.0

    _s3: S3Clients = field(init=False, repr=False)
    _store: CredentialStore = field(init=False, repr=False)
    _own: OwnServices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._s3 = S3Clients(self.s3.get_client_at)
        self._store = CredentialStore(self._s3.get)
        own = [*map(OwnService.read, self.own_services), own_service("ledger", self.ledger_url)]
        self._own = OwnServices([each for each in own if each is not None], self.resolve)

    def fetch(self, origin: Origin, destination: Path) -> Fetched:
        """Download an original to a file. Raises the errors of the error tree, codes `origin_*`.

        A download that breaks off continues where it ended, if the origin can do so. An empty original, one above
        `max_bytes` and one that still breaks off at the last attempt leave no file behind.
        """
        try:
            return self._download(origin, PartialFile(destination, max_bytes=self.max_bytes))
        except TooManyBytesError as error:
            raise self._too_large(origin.url) from error

    def fetch_if(self, origin: Origin, destination: Path, wants: Callable[[bytes], bool]) -> Fetched | None:
        """Download an original as `fetch` does, if it is wanted: its first `HEAD_BYTES` decide, as of a peek.

        Returns None if it is not, or is too large: no file is left then.
        """
        try:
            return self._download(origin, PartialFile(destination, max_bytes=self.max_bytes, wants=wants))
        except (TooManyBytesError, UnwantedError):
            return None

    def peek(self, origin: Origin, limit: int = HEAD_BYTES) -> Peeked:
        """Return what an original's server says of it, and its first `limit` bytes, without fetching it."""
        _check_signature(origin)
        peeked = self.retrying.call(lambda: self._peek(origin, limit))
        if not peeked.head:
            raise _empty(origin.url)
        return peeked

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        super().close()
        self._s3.close()

    def make_client(self) -> httpx.Client:
        """Make the one HTTP client."""
        return web.make_client(self._limits, self.in_flight, self.resolve, self._own)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Look up the addresses of a host, once for each connection. Raises OSError."""
        return resolve(host, port)

    def _download(self, origin: Origin, file: PartialFile) -> Fetched:
        """Download to the file, or leave none.

        Raises TooManyBytesError, UnwantedError, and the errors of the error tree.
        """
        _check_signature(origin)
        try:
            fetched = self.retrying.call(lambda: self._fetch(origin, file))
            if fetched.bytes == 0:
                raise _empty(origin.url)
        except (IngestError, TooManyBytesError, UnwantedError):
            file.path.unlink(missing_ok=True)
            raise
        return fetched

    def _fetch(self, origin: Origin, file: PartialFile) -> Fetched:
        with self.acquire() as client, self._options(origin, client) as options:
            return READERS[origin.strategy].fetch(origin, file, options)

    def _peek(self, origin: Origin, limit: int) -> Peeked:
        with self.acquire() as client, self._options(origin, client) as options:
            return READERS[origin.strategy].peek(origin, limit, options)

    @contextmanager
    def _options(self, origin: Origin, client: httpx.Client) -> Iterator[FetchOptions]:
        """Yield the options, with the credentials that the strategy needs.

        Credentials that are refused are forgotten, as they may be corrected. A bucket's own endpoint that does not
        answer is that customer's trouble alone, not an internal service that is down.
        """
        try:
            needed = origin.strategy.with_credentials and origin.rule
            credentials = self._store.get(origin.rule) if needed and origin.rule else None
            networks = {*map(parse_network, self.private_networks), *origin.private_networks}
            yield FetchOptions(
                self._limits, self.resolve, self._own, frozenset(networks), credentials, client, self._s3
            )
        except PermanentError as error:
            if error.code == "origin_login_refused" and origin.rule:
                self._store.forget(origin.rule)
            raise
        except ServiceDownError as error:
            if origin.bucket.endpoint is None:
                raise
            raise TransientError("origin_unreachable", error.cause, remedy=error.remedy) from error

    @property
    def _limits(self) -> Limits:
        return Limits(
            self.connect_timeout_seconds,
            self.read_timeout_seconds,
            self.timeout_seconds,
            self.min_rate,
            self.rate_window_seconds,
        )

    def _too_large(self, url: str) -> PermanentError:
        return PermanentError(
            "origin_too_large",
            f"The original at {shown_url(url)} has more than {self.max_bytes} bytes",
            remedy="Put a smaller one there, or raise DLCS_ORIGIN_MAX_BYTES.",
        )


def _check_signature(origin: Origin) -> None:
    if was_signed(origin.url):
        raise PermanentError(
            "origin_signature_gone",
            f"The address of the original was signed for a while, and its signature is no longer kept: {origin.url}",
            remedy="Send a full message with a newly signed address, or one that stays good.",
        )


def _empty(url: str) -> PermanentError:
    return PermanentError(
        "origin_empty",
        f"The original at {shown_url(url)} is empty",
        remedy="Put the whole original there; then ingest the image again.",
    )
