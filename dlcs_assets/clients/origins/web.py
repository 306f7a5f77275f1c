"""The strategies `default` and `basic-http-authentication`: originals over HTTP."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from dlcs_assets.clients.content_encoding import CHUNK_BYTES, is_packed, unpacked
from dlcs_assets.clients.credentials import Credentials
from dlcs_assets.clients.http import error_of_exception, error_of_status, no_cookies
from dlcs_assets.clients.origins.addresses import AddressRefusedError, Resolve
from dlcs_assets.clients.origins.download_limits import DownloadLimits, HeadersTooLargeError, TooSlowError, watching
from dlcs_assets.clients.origins.own_services import OwnServices
from dlcs_assets.clients.origins.strategy import (
    PEER,
    FetchOptions,
    Limits,
    Peeked,
    address_refused,
    encoding_errors,
    login_refused,
    not_found,
    refused,
)
from dlcs_assets.clients.origins.transport import NETWORKS, OriginTransport
from dlcs_assets.clients.transfer import Fetched, PartialFile
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.text import is_storable
from dlcs_assets.logs import keep_libraries_quiet

_MAX_REDIRECTS: Final = 8
_MAX_REDIRECT_BYTES: Final = 16 * 1024  # of a body that is read for the sake of the connection
_MAX_COOKIE_BYTES: Final = 16 * 1024  # of what is sent
_MAX_TEXT: Final = 500  # of what a header says and we keep
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_COOKIE: Final = re.compile(r"[!-:<>-~]+=[ -~]*")
_COOKIE_ATTRIBUTE: Final = re.compile(r"secure|(?:domain|path|max-age)=[!-~][ -~]*", re.IGNORECASE)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


def make_client(limits: Limits, connections: int, resolve: Resolve, own: OwnServices) -> httpx.Client:
    """Make a client for all origins. A proxy that the environment names is not asked: it would look up names itself."""
    # It logs whole URLs at INFO, and with them the tokens and signatures in their queries.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    keep_libraries_quiet()
    return httpx.Client(
        timeout=httpx.Timeout(min(limits.read, limits.whole), connect=limits.connect, pool=None),
        # Not compressed: what is counted, hashed and compared with Content-Length is then what was sent.
        headers={"User-Agent": "DLCS/2.0", "Accept": "*/*", "Accept-Encoding": "identity"},
        cookies=no_cookies(),
        transport=OriginTransport(resolve, connections, own),
        event_hooks={"response": [_check_location]},
        trust_env=False,
    )


def fetch(origin: Origin, file: PartialFile, options: FetchOptions) -> Fetched:
    """Download to the file; from where an earlier attempt broke off, if the server can and it is the same original."""
    began = time.monotonic()
    ask = {}
    if file.can_continue:
        ask = {"Range": f"bytes={file.length}-", "If-Range": str(file.version)}
    with _answer(origin, ask, options) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and ask:
            raise _cannot_continue(file, origin)
        _expect_success(response, origin, options.credentials)
        partial = response.status_code == httpx.codes.PARTIAL_CONTENT
        if partial and not ask and not _is_from_the_start(response):
            cause = f"The origin sent another part of {shown_url(origin.url)} than was asked for"
            raise TransientError("origin_broke_off", cause, remedy=PEER.remedy)
        if not (ask and partial):
            file.begin(_resumable_version(response))
        elif not _continues(response, file):
            raise _cannot_continue(file, origin)
        file.expect(_content_length(response))
        file.append(_unpacked(response))
        whole = _whole_length(response) if partial else None
        if whole is not None and whole != file.length:
            raise TransientError(
                "origin_broke_off",
                f"The origin sent {file.length} of {whole} bytes of {shown_url(origin.url)}",
                remedy=PEER.remedy,
            )
    milliseconds = round((time.monotonic() - began) * 1000)
    content_type, version, packed = _content_type(response), _version(response), _is_packed(response)
    return Fetched(file.path, file.length, file.sha256, content_type, version, milliseconds, packed)


def peek(origin: Origin, limit: int, options: FetchOptions) -> Peeked:
    """Read the first bytes."""
    with _answer(origin, {"Range": f"bytes=0-{limit - 1}"}, options) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return Peeked(b"", 0, None, None)
        _expect_success(response, origin, options.credentials)
        head = b""
        # A server that knows no ranges sends everything: what is beyond the limit is not read.
        for part in _unpacked(response, cut_off=True):
            head += part
            if len(head) >= limit:
                break
    packed = _is_packed(response)
    size = None if packed else _whole_length(response)
    return Peeked(head[:limit], size, _content_type(response), _version(response), packed)


@contextmanager
def _answer(origin: Origin, headers: dict[str, str], options: FetchOptions) -> Iterator[httpx.Response]:
    """Send the request, follow redirects, and yield the answer to be read. Raises the errors of the error tree."""
    watch = DownloadLimits(options.limits)
    where = shown_url(origin.url)
    try:
        with (
            encoding_errors(origin),
            watching(watch),
            closing(_last_answer(origin, headers, options, watch)) as response,
        ):
            yield response
    except AddressRefusedError as error:
        raise address_refused(origin, error) from error
    except TooSlowError as error:
        cause = f"The origin at {where} sends {error}"
        remedy = f"{PEER.remedy} The limit is DLCS_ORIGIN_MIN_RATE."
        raise TransientError("origin_too_slow", cause, remedy=remedy) from error
    except HeadersTooLargeError as error:
        cause = f"The origin at {where} sends {error}"
        raise PermanentError("origin_headers_too_long", cause, remedy=PEER.remedy) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise error_of_exception(error, PEER, origin.url) from error


def _last_answer(
    origin: Origin, headers: dict[str, str], options: FetchOptions, watch: DownloadLimits
) -> httpx.Response:
    """Return the first answer that is no redirect; its body is yet to be read.

    Credentials go to the scheme, host and port that they are for, until a redirect leads away from there. Cookies that
    redirects set are sent where they belong, and forgotten at the end. Redirects are not left to httpx: it reads all of
    their bodies into memory.
    """
    cookies = _Cookies()
    url = httpx.URL(origin.url)
    home = _place(url)
    auth = _auth(url, origin, options.credentials)
    for _ in range(_MAX_REDIRECTS + 1):
        request = options.http.build_request(
            "GET", url.copy_with(userinfo=b""), headers=headers, extensions={NETWORKS: options.networks}
        )
        cookies.add_to(request)
        watch.begin_head()
        response = options.http.send(request, auth=auth, stream=True)
        watch.begin_body()
        if response.next_request is None:
            return response
        cookies.take_from(response)
        _leave(response)
        former, url = url, response.next_request.url
        if (former.scheme, url.scheme) == ("https", "http"):
            raise PermanentError(
                "origin_redirect_refused",
                f"The origin at {shown_url(origin.url)} redirects from https to http",
                remedy="Correct the server, or register an origin that begins with http:// if that is good enough.",
            )
        if _place(url) != home:
            auth = None
    raise httpx.TooManyRedirects("too many", request=request)


class _Cookies:
    """The cookies of one download, by the rules of browsers for host, path and TLS; ports have cookies of their own."""

    def __init__(self) -> None:
        self._by_port: dict[int | None, httpx.Cookies] = {}

    def take_from(self, response: httpx.Response) -> None:
        """Keep what an answer sets. What the parser of cookies is not made for is left out: it would warn at length."""
        lines = []
        for line in response.headers.get_list("set-cookie"):
            cookie, *attributes = (part.strip() for part in line.split(";"))
            if _COOKIE.fullmatch(cookie):
                lines.append(("set-cookie", "; ".join((cookie, *filter(_COOKIE_ATTRIBUTE.fullmatch, attributes)))))
        self._of(response.request).extract_cookies(httpx.Response(200, headers=lines, request=response.request))

    def add_to(self, request: httpx.Request) -> None:
        """Set the header for what was kept of that host; none if it would be too long."""
        kept = self._by_port.get(request.url.port)
        if kept and request.url.host:  # without one there is nothing to match, and the address is refused anyway
            kept.set_cookie_header(request)
        if len(request.headers.get("cookie", "")) > _MAX_COOKIE_BYTES:
            del request.headers["cookie"]

    def _of(self, request: httpx.Request) -> httpx.Cookies:
        port = request.url.port  # None: the scheme's own
        if port not in self._by_port:
            policy = DefaultCookiePolicy(strict_domain=True)  # no cookies for all of .co.uk
            self._by_port[port] = httpx.Cookies(CookieJar(policy))
        return self._by_port[port]


def _check_location(response: httpx.Response) -> None:
    """Raise httpx.InvalidURL for a redirect to what is none; httpx would blame the protocol."""
    if response.has_redirect_location:
        response.url.join(response.headers["location"])


def _leave(response: httpx.Response) -> None:
    """Close a redirect; if little is left of its body, read it first, so that the connection can be reused."""
    length = response.headers.get("content-length", "")
    try:
        if _LENGTH.fullmatch(length) and int(length) <= _MAX_REDIRECT_BYTES:
            for _ in response.iter_raw():
                pass
    finally:
        response.close()


def _place(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _auth(url: httpx.URL, origin: Origin, credentials: Credentials | None) -> httpx.Auth | None:
    if credentials:
        return _basic(credentials, origin)
    return httpx.BasicAuth(url.username, url.password) if url.userinfo else None


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


def _cannot_continue(file: PartialFile, origin: Origin) -> TransientError:
    file.begin(None)
    cause = f"The download of {shown_url(origin.url)} broke off, and the origin can't continue where it ended"
    return TransientError("origin_broke_off", cause, remedy=PEER.remedy)


def _continues(response: httpx.Response, file: PartialFile) -> bool:
    """Return whether the answer is the rest of the very bytes that came before."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if found is None or int(found[1]) != file.length:
        return False
    return _resumable_version(response) == file.version


def _is_from_the_start(response: httpx.Response) -> bool:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return found is not None and int(found[1]) == 0 and found[2] != "*"


def _resumable_version(response: httpx.Response) -> str | None:
    """Return the ETag if it stands for these very bytes: strong, and of a body that was not encoded on the way.

    One that can't be sent back as it came is of no use.
    """
    etag: str = response.headers.get("etag", "")
    usable = etag.startswith('"') and etag.isascii() and etag.isprintable() and len(etag) <= _MAX_TEXT
    return etag if usable and not _is_packed(response) else None


def _unpacked(response: httpx.Response, *, cut_off: bool = False) -> Iterator[bytes]:
    return unpacked(response.iter_raw(CHUNK_BYTES), response.headers.get("content-encoding"), cut_off=cut_off)


def _is_packed(response: httpx.Response) -> bool:
    return is_packed(response.headers.get("content-encoding"))


def _content_length(response: httpx.Response) -> int | None:
    """Return what the header says, None where it says nothing of use (0 and -1 are seen where nothing is known)."""
    text = response.headers.get("content-length", "")
    return int(text) or None if _LENGTH.fullmatch(text) else None


def _whole_length(response: httpx.Response) -> int | None:
    """Return the length of the whole original from the answer to a ranged request."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return _content_length(response)
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if _LENGTH.fullmatch(total) else None


def _version(response: httpx.Response) -> str | None:
    etag = response.headers.get("etag", "").strip('"')
    return _kept(etag)


def _content_type(response: httpx.Response) -> str | None:
    return _kept(response.headers.get("content-type", ""))


def _kept(text: str) -> str | None:
    return text if text and is_storable(text) and len(text) <= _MAX_TEXT else None
