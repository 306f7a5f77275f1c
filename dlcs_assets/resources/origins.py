"""Reading originals where they are: over HTTP, or in S3 with our own credentials."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dagster as dg
import httpx
from dagster_aws.s3 import S3Resource
from pydantic import Field, PrivateAttr

from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.resources.aws import aws_errors
from dlcs_assets.resources.http import (
    HttpService,
    Peer,
    check_deadline,
    error_of_exception,
    error_of_status,
    no_cookies,
)
from dlcs_assets.resources.lazy import Lazy
from dlcs_assets.resources.s3_objects import download_object, object_version
from dlcs_assets.resources.transfer import Fetched, TooManyBytes, write_stream

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_PEER: Final = Peer(
    "The origin",
    "origin",
    ours=False,
    remedy="See whether the origin answers, and correct it if it is wrong; then retry.",
)
_MAX_REDIRECTS: Final = 8
_CHUNK_BYTES: Final = 2**18


@dataclass(frozen=True)
class Peeked:
    """What is known of an original that was not fetched: its first bytes, and what its server says of it."""

    head: bytes = field(repr=False)
    size: int | None
    content_type: str | None
    version: str | None


class Origins(HttpService):
    """The origins of all customers: strategies `default` (HTTP) and `s3-ambient`."""

    s3: dg.ResourceDependency[S3Resource]
    max_bytes: int = Field(default=10 * 2**30, ge=1, description="Largest original that is fetched.")
    timeout_seconds: float = Field(default=600.0, gt=0, description="Time limit of one download.")
    read_timeout_seconds: float = Field(default=60.0, gt=0, description="Time limit between two packets of an answer.")
    connect_timeout_seconds: float = Field(default=10.0, gt=0, description="Time limit of making a connection.")
    attempts: int = Field(default=3, ge=1, description="Attempts at one download at most.")
    retry_budget_seconds: float = Field(default=900.0, ge=0, description="No further attempt is begun after this time.")

    _s3_client: Lazy["S3Client"] = PrivateAttr(default_factory=Lazy)

    def fetch(self, origin: Origin, destination: Path) -> Fetched:
        """Download an original to a file. Raises the errors of the error tree, codes `origin_*`.

        An empty original, one above `max_bytes` and one that breaks off leave no file behind.
        """

        def attempt() -> Fetched:
            with self.slot() as client:
                if origin.location is not None:
                    return self._fetch_object(origin.location, destination)
                return self._fetch_http(client, origin.url, destination)

        try:
            fetched = self.retrying.call(attempt)
            if fetched.bytes == 0:
                raise _empty(origin.url)
        except TooManyBytes as error:
            destination.unlink(missing_ok=True)
            raise self._too_large(origin.url) from error
        except IngestError:
            destination.unlink(missing_ok=True)
            raise
        return fetched

    def peek(self, origin: Origin, limit: int = 65536) -> Peeked:
        """Look at an original without fetching it: what its server says of it, and its first `limit` bytes."""

        def attempt() -> Peeked:
            with self.slot() as client:
                if origin.location is not None:
                    return self._peek_object(origin.location, limit)
                return self._peek_http(client, origin.url, limit)

        peeked = self.retrying.call(attempt)
        if not peeked.head:
            raise _empty(origin.url)
        return peeked

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        super().close()
        client = self._s3_client.take()
        if client is not None:
            client.close()

    def make_client(self) -> httpx.Client:
        """Make the one client. Origins may be behind a proxy, which the environment names."""
        return httpx.Client(
            timeout=httpx.Timeout(
                min(self.read_timeout_seconds, self.timeout_seconds), connect=self.connect_timeout_seconds, pool=None
            ),
            limits=httpx.Limits(max_connections=self.in_flight),
            # Not compressed: what is counted, hashed and compared with Content-Length is then what was sent.
            headers={"User-Agent": "DLCS/2.0", "Accept": "*/*", "Accept-Encoding": "identity"},
            cookies=no_cookies(),
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
        )

    def _fetch_http(self, client: httpx.Client, url: str, destination: Path) -> Fetched:
        began = time.monotonic()
        with _http_errors(url), client.stream("GET", url) as response:
            _expect_success(response, url)
            if (_content_length(response) or 0) > self.max_bytes:
                raise TooManyBytes
            chunks = _within(began + self.timeout_seconds, response.iter_bytes(_CHUNK_BYTES))
            length, sha256 = write_stream(chunks, destination, max_bytes=self.max_bytes)
        return Fetched(
            destination,
            length,
            sha256,
            response.headers.get("content-type"),
            _version(response),
            round((time.monotonic() - began) * 1000),
        )

    def _peek_http(self, client: httpx.Client, url: str, limit: int) -> Peeked:
        deadline = time.monotonic() + self.timeout_seconds
        ask = {"Range": f"bytes=0-{limit - 1}"}
        with _http_errors(url), client.stream("GET", url, headers=ask) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return Peeked(b"", 0, None, None)
            _expect_success(response, url)
            head = b""
            # A server that knows no ranges sends everything: what is beyond the limit is not read.
            for part in _within(deadline, response.iter_bytes()):
                head += part
                if len(head) >= limit:
                    break
        return Peeked(head[:limit], _whole_length(response), response.headers.get("content-type"), _version(response))

    def _fetch_object(self, location: S3Location, destination: Path) -> Fetched:
        return download_object(
            self._s3_client.get(self.s3.get_client),
            location,
            destination,
            peer=_PEER,
            max_bytes=self.max_bytes,
            time_limit_seconds=self.timeout_seconds,
        )

    def _peek_object(self, location: S3Location, limit: int) -> Peeked:
        client = self._s3_client.get(self.s3.get_client)
        with aws_errors(_PEER, f"Looking at {location.uri()}"):
            known = client.head_object(Bucket=location.bucket, Key=location.key)
            size = known["ContentLength"]
            version = object_version(known.get("VersionId"), known.get("ETag"))
            if size == 0:
                return Peeked(b"", 0, known.get("ContentType"), version)
            answer = client.get_object(
                Bucket=location.bucket, Key=location.key, Range=f"bytes=0-{limit - 1}", IfMatch=known["ETag"]
            )
            return Peeked(answer["Body"].read(), size, known.get("ContentType"), version)

    def _too_large(self, url: str) -> PermanentError:
        return PermanentError(
            "origin_too_large",
            f"The original at {shown_url(url)} has more than {self.max_bytes} bytes",
            remedy="Put a smaller one there, or raise DLCS_ORIGIN_MAX_BYTES.",
        )


@contextmanager
def _http_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise error_of_exception(error, _PEER, url) from error


def _within(deadline: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        check_deadline(deadline)
        yield chunk


def _expect_success(response: httpx.Response, url: str) -> None:
    match response.status_code:
        case status if httpx.codes.is_success(status):
            return
        case httpx.codes.NOT_FOUND | httpx.codes.GONE as status:
            raise PermanentError(
                "origin_not_found",
                f"The origin answered {status} for {shown_url(url)}",
                remedy="Put the original there, or correct the origin; then ingest the image again.",
            )
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN as status:
            raise PermanentError(
                "origin_refused",
                f"The origin answered {status} for {shown_url(url)}",
                remedy="Let the DLCS read it there, or correct the origin; then ingest the image again.",
            )
        case status:
            raise error_of_status(status, response.headers, _PEER, url)


def _empty(url: str) -> PermanentError:
    return PermanentError(
        "origin_empty",
        f"The original at {shown_url(url)} is empty",
        remedy="Put the whole original there; then ingest the image again.",
    )


def _content_length(response: httpx.Response) -> int | None:
    """Return what the header says, None where it says nothing of use (0 and -1 are seen where nothing is known)."""
    text = response.headers.get("content-length", "")
    return int(text) or None if text.isascii() and text.isdigit() else None


def _whole_length(response: httpx.Response) -> int | None:
    """Return the length of the whole original from the answer to a ranged request."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return _content_length(response)
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isascii() and total.isdigit() else None


def _version(response: httpx.Response) -> str | None:
    etag = response.headers.get("etag", "").strip('"')
    return etag or None
