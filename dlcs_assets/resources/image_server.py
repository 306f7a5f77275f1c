"""The client of the image server (Cantaloupe's part in the DLCS): the picture behind an identifier, at a size.

A session is one image: its requests carry the load balancer's cookies, so that one server task opens the source once.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias
from urllib.parse import quote

import httpx
from pydantic import Field

from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size, is_size_asked, parse_size
from dlcs_assets.resources.gentle import GentleService
from dlcs_assets.resources.http import BodyTooLong, Peer, error_of_status, one_line, read_body
from dlcs_assets.resources.jpeg import NotAJpeg, decode_jpeg, measure_jpeg

_PEER: Final = Peer(
    "The image server",
    "image_server",
    ours=True,
    remedy="See that the image server is up and read its log; then retry.",
)
_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
_MAX_BODY_BYTES: Final = 64 * 2**20
_WRONG_SIZE: Final = "thumbnail_wrong_size"
# Cantaloupe, without ^ or above its max_scale; Laya.
_REFUSALS_OF_SIZE: Final = ("scales in excess of", "image dimensions exceed largest")


@dataclass(frozen=True)
class ThumbnailBytes:
    """A thumbnail as it came: a whole JPEG of `size` pixels."""

    data: bytes = field(repr=False)
    size: Size
    milliseconds: int


@dataclass(frozen=True)
class Refused:
    """The image server does not make this size of this image, and never will as it is configured."""

    reason: str


Thumbnail: TypeAlias = ThumbnailBytes | Refused


class ImageServer(GentleService):
    """An image server that speaks IIIF Image API 3 and finds the source by its identifier."""

    peer: ClassVar[Peer] = _PEER

    url: str = Field(default="http://127.0.0.1:8182", description="Base URL of the image server.")
    path: str = Field(default="iiif/3/", description="Path of the Image API under the base URL.")
    cache: str = Field(default="recache", description="Value of ?cache= in each request; none if empty.")
    cookie_names: list[str] = Field(
        default=["AWSALB", "AWSALBCORS"], description="The load balancer's cookies, sent back within one image."
    )

    def session(self) -> ImageServerSession:
        """Begin the requests for one image."""
        return ImageServerSession(self)

    def is_up(self) -> bool:
        """Tell whether anything answers. A 403 of /health is an answer; a gateway's error is not."""
        try:
            response = self.client.get(f"{self.url.rstrip('/')}/health", timeout=self.connect_timeout_seconds)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return response.status_code not in _GATEWAY_STATUSES

    def request_url(self, identifier: str, rest: str) -> str:
        """Return the URL of a request: the identifier is one segment, whatever characters it is made of."""
        query = f"?cache={self.cache}" if self.cache else ""
        path = f"{self.path.strip('/')}/" if self.path.strip("/") else ""
        return f"{self.url.rstrip('/')}/{path}{quote(identifier, safe='')}/{rest}{query}"


class ImageServerSession:
    """The requests for one image; usable by several threads."""

    def __init__(self, server: ImageServer) -> None:
        self._server = server
        self._cookies: dict[str, str] = {}
        self._lock = threading.Lock()

    def info(self, identifier: str) -> Size:
        """Return the size of the picture as it is served. Raises the errors of the error tree."""
        url = self._server.request_url(identifier, "info.json")
        return self._server.retrying.call(lambda: _read_info(self._get(url)))

    def thumbnail(self, identifier: str, parameter: str, ask: str, image: Size) -> Thumbnail:
        """Fetch the picture at the size that `parameter` means for `image`, asked for in the words of `ask`.

        What is returned has been decoded and has that size. Raises the errors of the error tree.
        """
        url = self._server.request_url(identifier, f"full/{ask}/0/default.jpg")
        began = time.monotonic()
        failures: set[str] = set()

        def attempt() -> Thumbnail:
            try:
                answer = self._get(url)
                if answer.status == httpx.codes.BAD_REQUEST and answer.refuses_the_size():
                    return Refused(answer.text())
                return _read_thumbnail(answer, parameter, image, began)
            except TransientError as error:
                failures.add(error.cause)
                raise

        try:
            return self._server.retrying.call(attempt)
        except TransientError as error:
            if error.code != _WRONG_SIZE or len(failures) > 1:
                raise
            # It was asked again, and what comes is always the same.
            raise PermanentError(error.code, error.cause, remedy=error.remedy) from error

    def _get(self, url: str) -> _Answer:
        headers = {"Accept": "*/*"}
        with self._lock:
            if self._cookies:
                headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            with self._server.turn(url) as turn:
                # From here on: time spent waiting for a place is not the server's.
                deadline = time.monotonic() + self._server.timeout_seconds
                with turn.client.stream("GET", url, headers=headers) as response:
                    self._keep_cookies(response)
                    body = read_body(response, max_bytes=_MAX_BODY_BYTES, deadline=deadline)
                turn.status = response.status_code
            return _Answer(url, response.status_code, response.headers, body)
        except BodyTooLong as error:
            raise TransientError(
                "thumbnail_unreadable", f"The image server's answer has {error}", remedy=_PEER.remedy
            ) from error

    def _keep_cookies(self, response: httpx.Response) -> None:
        with self._lock:
            for header in response.headers.get_list("set-cookie"):
                name, separator, value = header.partition(";")[0].strip().partition("=")
                if separator and name in self._server.cookie_names:
                    self._cookies[name] = value


@dataclass(frozen=True)
class _Answer:
    url: str
    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)

    def text(self) -> str:
        return one_line(self.body[:2000].decode("utf-8", "replace").strip())

    def refuses_the_size(self) -> bool:
        text = self.text().lower()
        return any(sign in text for sign in _REFUSALS_OF_SIZE)

    def check(self) -> None:
        """Raise what an answer without success means."""
        if httpx.codes.is_success(self.status):
            return
        raise self._error()

    def _error(self) -> IngestError:
        detail = self.text()
        match self.status:
            case httpx.codes.NOT_FOUND:
                # Right after an upload it may be a matter of moments.
                return TransientError(
                    "image_server_source_missing",
                    "The image server does not find the image",
                    remedy="See that the image server reads the bucket and region that we write to.",
                )
            case httpx.codes.FORBIDDEN if "pixel" in detail.lower():
                return PermanentError(
                    "thumbnail_too_many_pixels",
                    f"The image server makes no picture of so many pixels: {detail}",
                    remedy="Raise its max_pixels, or leave the size out of the policy.",
                )
            case httpx.codes.FORBIDDEN:
                # Also what it says when S3 denies it the source, and seen under load.
                return TransientError(
                    "image_server_forbidden",
                    f"The image server may not read the image: {detail}",
                    remedy="See that its S3 credentials may read the bucket.",
                )
            case httpx.codes.NOT_IMPLEMENTED:
                return PermanentError(
                    "source_unreadable",
                    f"The image server cannot read what is stored: {detail}",
                    remedy="Replace the original if it is damaged; if its format is not known there, use the "
                    "image policy default, which converts the image.",
                )
        return error_of_status(self.status, self.headers, _PEER, self.url, detail=detail)


def _read_info(answer: _Answer) -> Size:
    answer.check()
    try:
        info = httpx.Response(200, content=answer.body).json()
        size = Size(int(info["width"]), int(info["height"]))
    except (ValueError, LookupError, TypeError):
        size = None
    if size is None or size.width < 1 or size.height < 1:
        raise TransientError(
            "info_unreadable", "The image server's info.json does not give the size of the image", remedy=_PEER.remedy
        )
    return size


def _read_thumbnail(answer: _Answer, parameter: str, image: Size, began: float) -> ThumbnailBytes:
    answer.check()
    try:
        size = measure_jpeg(answer.body)
        if not is_size_asked(parse_size(parameter), image, size):
            raise TransientError(
                _WRONG_SIZE,
                f"The image server gave {size.width} x {size.height} for {parameter} of {image.width} x {image.height}",
                remedy="See that the image server reads sources anew (StreamStrategy), and its caches; then retry.",
            )
        decode_jpeg(answer.body)
    except NotAJpeg as error:
        raise TransientError(
            "thumbnail_unreadable", f"What the image server gave for {parameter} {error}", remedy=_PEER.remedy
        ) from error
    return ThumbnailBytes(answer.body, size, round((time.monotonic() - began) * 1000))
