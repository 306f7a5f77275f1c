"""The one client of all origins: retries, limits and credentials; how each is read its strategy's module knows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.credentials import CredentialStore
from dlcs_assets.clients.http import HttpService
from dlcs_assets.clients.origins import s3_ambient as ambient
from dlcs_assets.clients.origins import sftp, web
from dlcs_assets.clients.origins.addresses import resolve
from dlcs_assets.clients.origins.s3_ambient import S3Clients
from dlcs_assets.clients.origins.strategy import PEER, Limits, Peeked, Terms
from dlcs_assets.clients.s3_objects import download_object
from dlcs_assets.clients.transfer import Fetched, PartialFile, TooManyBytesError
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.networks import parse_network
from dlcs_assets.domain.origin import Origin, OriginStrategy
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.signed_url import was_signed


@dataclass(kw_only=True, eq=False)
class Origins(HttpService):
    """The origins of all customers, by the strategies `default`, `basic-http-authentication`, `s3-ambient`, `sftp`."""

    s3: S3ClientFactory
    max_bytes: int = 10 * 2**30
    timeout_seconds: float = 600.0
    read_timeout_seconds: float = 60.0
    connect_timeout_seconds: float = 10.0
    min_rate: int = 1000
    rate_window_seconds: float = 30.0
    private_networks: Sequence[str] = ()
    attempts: int = 3
    retry_budget_seconds: float = 900.0

    _s3: S3Clients = field(init=False, repr=False)
    _store: CredentialStore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._s3 = S3Clients(self.s3.get_client_at)
        self._store = CredentialStore(self._s3.get)

    def fetch(self, origin: Origin, destination: Path) -> Fetched:
        """Download an original to a file. Raises the errors of the error tree, codes `origin_*`.

        A download that breaks off goes on where it ended, if the origin can do so. An empty original, one above
        `max_bytes` and one that breaks off for good leave no file behind.
        """
        _check_signature(origin)
        file = PartialFile(destination, max_bytes=self.max_bytes)
        try:
            fetched = self.retrying.call(lambda: self._fetch(origin, file))
            if fetched.bytes == 0:
                raise _empty(origin.url)
        except TooManyBytesError as error:
            destination.unlink(missing_ok=True)
            raise self._too_large(origin.url) from error
        except IngestError:
            destination.unlink(missing_ok=True)
            raise
        return fetched

    def peek(self, origin: Origin, limit: int = 65536) -> Peeked:
        """Look at an original without fetching it: what its server says of it, and its first `limit` bytes."""
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
        return web.make_client(self._limits, self.in_flight, self.resolve)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Look up the addresses of a host, once for each connection. Raises OSError."""
        return resolve(host, port)

    def _fetch(self, origin: Origin, file: PartialFile) -> Fetched:
        with self.slot() as client, self._terms(origin) as terms:
            if origin.location is not None:
                return download_object(
                    self._s3.get(origin.bucket),
                    origin.location,
                    file,
                    peer=PEER,
                    time_limit_seconds=self.timeout_seconds,
                )
            if origin.strategy is OriginStrategy.SFTP:
                return sftp.fetch(origin, file, terms)
            return web.fetch(client, origin, file, terms)

    def _peek(self, origin: Origin, limit: int) -> Peeked:
        with self.slot() as client, self._terms(origin) as terms:
            if origin.location is not None:
                return ambient.peek(self._s3.get(origin.bucket), origin.location, limit)
            if origin.strategy is OriginStrategy.SFTP:
                return sftp.peek(origin, limit, terms)
            return web.peek(client, origin, limit, terms)

    @contextmanager
    def _terms(self, origin: Origin) -> Iterator[Terms]:
        """Give the terms, with the credentials that the strategy asks for; forget those that are refused.

        They may be corrected, then.

        That a bucket's own endpoint does not answer is that customer's trouble alone, not a service of ours down.
        """
        with_credentials = origin.strategy in {OriginStrategy.BASIC_HTTP, OriginStrategy.SFTP}
        try:
            credentials = self._store.get(origin.rule) if with_credentials and origin.rule else None
            networks = {*map(parse_network, self.private_networks), *origin.private_networks}
            yield Terms(self._limits, self.resolve, frozenset(networks), credentials)
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
