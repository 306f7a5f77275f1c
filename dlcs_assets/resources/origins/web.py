"""The strategies `default` and `basic-http-authentication`: originals over HTTP."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.resources.credentials import Credentials
from dlcs_assets.resources.http import error_of_exception, error_of_status, no_cookies
from dlcs_assets.resources.origins.strategy import (
    CHUNK_BYTES,
    PEER,
    Peeked,
    TimeLimits,
    login_refused,
    not_found,
    refused,
    within,
)
from dlcs_assets.resources.transfer import Fetched, PartialFile

_MAX_REDIRECTS: Final = 8
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/(?:[0-9]+|\*)")


def make_client(limits: TimeLimits, connections: int) -> httpx.Client:
    """Make a client for all origins. They may be behind a proxy, which the environment names."""
    # It logs whole URLs at INFO, and with them the tokens and signatures in their queries.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.Client(
        timeout=httpx.Timeout(min(limits.read, limits.whole), connect=limits.connect, pool=None),
        limits=httpx.Limits(max_connections=connections),
        # Not compressed: what is counted, hashed and compared with Content-Length is then what was sent.
        headers={"User-Agent": "DLCS/2.0", "Accept": "*/*", "Accept-Encoding": "identity"},
        cookies=no_cookies(),
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
    )


def fetch(
    client: httpx.Client, origin: Origin, file: PartialFile, limits: TimeLimits, credentials: Credentials | None
) -> Fetched:
    """Download to the file; from where an earlier attempt broke off, if the server can and it is the same original."""
    began = time.monotonic()
    ask = {}
    if file.can_go_on:
        ask = {"Range": f"bytes={file.length}-", "If-Range": str(file.version)}
    with _answer(client, origin, ask, credentials) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and ask:
            raise _cannot_go_on(file, origin)
        _expect_success(response, origin, credentials)
        if not (ask and response.status_code == httpx.codes.PARTIAL_CONTENT):
            file.begin(_resumable_version(response))
        elif not _goes_on(response, file):
            raise _cannot_go_on(file, origin)
        file.expect(_content_length(response))
        file.append(within(limits.whole, response.iter_bytes(CHUNK_BYTES)))
        whole = _whole_length(response) if response.status_code == httpx.codes.PARTIAL_CONTENT else None
        if whole is not None and whole != file.length:
            raise TransientError(
                "origin_broke_off",
                f"The origin sent {file.length} of {whole} bytes of {shown_url(origin.url)}",
                remedy=PEER.remedy,
            )
    milliseconds = round((time.monotonic() - began) * 1000)
    content_type = response.headers.get("content-type")
    return Fetched(file.path, file.length, file.sha256, content_type, _version(response), milliseconds)


def peek(
    client: httpx.Client, origin: Origin, limit: int, limits: TimeLimits, credentials: Credentials | None
) -> Peeked:
    """Read the first bytes."""
    with _answer(client, origin, {"Range": f"bytes=0-{limit - 1}"}, credentials) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return Peeked(b"", 0, None, None)
        _expect_success(response, origin, credentials)
        head = b""
        # A server that knows no ranges sends everything: what is beyond the limit is not read.
        for part in within(limits.whole, response.iter_bytes()):
            head += part
            if len(head) >= limit:
                break
    return Peeked(head[:limit], _whole_length(response), response.headers.get("content-type"), _version(response))


@contextmanager
def _answer(
    client: httpx.Client, origin: Origin, headers: dict[str, str], credentials: Credentials | None
) -> Iterator[httpx.Response]:
    # httpx takes the header with the credentials away where a redirect leads to another scheme, host or port.
    auth = _basic(credentials, origin) if credentials else httpx.USE_CLIENT_DEFAULT
    try:
        with client.stream("GET", origin.url, headers=headers, auth=auth) as response:
            yield response
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise error_of_exception(error, PEER, origin.url) from error


def _basic(credentials: Credentials, origin: Origin) -> httpx.BasicAuth:
    if credentials.password is None:
        raise PermanentError(
            "origin_credentials_malformed",
            f"The credentials of origin strategy {origin.rule} have no password.",
            remedy='Store them as JSON: {"user": "...", "password": "..."}.',
        )
    return httpx.BasicAuth(credentials.user, credentials.password)


def _expect_success(response: httpx.Response, origin: Origin, credentials: Credentials | None) -> None:
    match response.status_code:
        case status if httpx.codes.is_success(status):
            return
        case httpx.codes.NOT_FOUND | httpx.codes.GONE as status:
            raise not_found(origin.url, f"answered {status}")
        case httpx.codes.UNAUTHORIZED if credentials:
            raise login_refused(origin)
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN as status:
            raise refused(origin.url, f"answered {status}")
        case status:
            raise error_of_status(status, response.headers, PEER, origin.url)


def _cannot_go_on(file: PartialFile, origin: Origin) -> TransientError:
    file.begin(None)
    cause = f"The download of {shown_url(origin.url)} broke off, and the origin can't go on where it ended"
    return TransientError("origin_broke_off", cause, remedy=PEER.remedy)


def _goes_on(response: httpx.Response, file: PartialFile) -> bool:
    """Tell whether the answer is the rest of the very bytes that came before."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if found is None or int(found[1]) != file.length:
        return False
    return _resumable_version(response) == file.version


def _resumable_version(response: httpx.Response) -> str | None:
    """Return the ETag if it stands for these very bytes: strong, and of a body that was not encoded on the way."""
    etag: str = response.headers.get("etag", "")
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    return etag if etag.startswith('"') and not encoded else None


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
