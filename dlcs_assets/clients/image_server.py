"""The client of the image server (in the DLCS Cantaloupe): the image behind an identifier, at a size.

A session is one image: its requests carry the load balancer's cookies, so that one server task opens the source once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeVar
from urllib.parse import quote

import httpx

from dlcs_assets.clients.http import BodyTooLongError, Peer, error_of_exception, read_body
from dlcs_assets.clients.image_server_answer import (
    BROKE_OFF,
    FORBIDDEN,
    PEER,
    SOURCE_MISSING,
    WRONG_SIZE,
    Answer,
    Refused,
    SourceFailedError,
    Thumbnail,
    ThumbnailBytes,
    read_info,
    read_thumbnail,
)
from dlcs_assets.clients.managed_service import ManagedService
from dlcs_assets.clients.retrying import NotRepeatedError
from dlcs_assets.domain.errors import PermanentError, TransientError, is_retryable
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import ImageServerKind
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.thumbnails import ThumbnailAsk

__all__ = ["ImageServer", "ImageServerSession", "Refused", "Thumbnail", "ThumbnailBytes"]

_GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
_MAX_BODY_BYTES: Final = 64 * 2**20
_PAUSE_SECONDS: Final = 0.25
_JPEG: Final = b"\xff\xd8\xff"
_IMPOSSIBLE: Final = "none/full/no-size/0/default.jpg"

T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class ImageServer(ManagedService):
    """An image server that speaks IIIF Image API 3 and finds the source by its identifier.

    With a `scratch_root` it shares that folder with the runs and reads files; without one, objects in S3.
    """

    peer: ClassVar[Peer] = PEER

    url: str = "http://127.0.0.1:8182"
    path: str = "iiif/3/"
    cache: str = "recache"
    cookie_names: Sequence[str] = ("AWSALB", "AWSALBCORS")

    kind: ImageServerKind = ImageServerKind.CANTALOUPE
    reads_jp2: bool = True
    scratch_root: str | None = None
    server_scratch_root: str | None = None
    late_files_seconds: float = 10.0

    def session(self, file: Path | None = None) -> ImageServerSession:
        """Begin the requests for one image. `file`: what they are about, where it is on the shared disk."""
        return ImageServerSession(self, file)

    @property
    def shares_disk(self) -> bool:
        """Whether it reads files of the scratch folder."""
        return self.scratch_root is not None

    def identifier_of(self, path: Path) -> str:
        """Return the identifier of a file in the shared scratch folder."""
        if self.scratch_root is None or self.server_scratch_root is None:
            return path.absolute().as_posix()
        relative = path.absolute().relative_to(Path(self.scratch_root).absolute()).as_posix()
        root = self.server_scratch_root
        return f"{root.rstrip('/')}/{relative}" if root else relative

    def is_up(self) -> bool:
        """Return whether anything answers. A 403 of /health is an answer; a gateway's error is not."""
        try:
            response = self.client.get(f"{self.url.rstrip('/')}/health", timeout=self.connect_timeout_seconds)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return response.status_code not in _GATEWAY_STATUSES

    def check(self) -> None:
        """Check that what answers at the URL is an image server: it refuses an impossible size with a 400.

        Raises `TransientError`, code `image_server_wrong_address`, for anything else that answers.
        """
        base = self._base
        try:
            status = self.client.get(f"{base}{_IMPOSSIBLE}", timeout=self.connect_timeout_seconds).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise error_of_exception(error, PEER, base) from error
        if status != httpx.codes.BAD_REQUEST and not is_retryable(status):
            raise TransientError(
                "image_server_wrong_address",
                f"What answers at {shown_url(base)} is no image server: it answered {status} to an impossible size",
                remedy="Correct DLCS_IMAGE_SERVER_URL and DLCS_IMAGE_SERVER_PATH.",
            )

    @property
    def _base(self) -> str:
        path = f"{self.path.strip('/')}/" if self.path.strip("/") else ""
        return f"{self.url.rstrip('/')}/{path}"

    def request_url(self, identifier: str, rest: str) -> str:
        """Return the URL of a request: the identifier is one segment, whatever characters it is made of."""
        query = f"?cache={self.cache}" if self.cache else ""
        return f"{self._base}{quote(identifier, safe='')}/{rest}{query}"

    def source_in(self, url: str) -> str:
        """Return the identifier in the URL of a request, as it is written there."""
        return url.removeprefix(self._base).partition("/")[0]


class ImageServerSession:
    """The requests for one image; usable by several threads.

    Once the server has failed at the source in all attempts at one request, no other request is repeated: it would keep
    threads that serve other images. `seen_late` counts the answers that a file on the shared disk is not there, or not
    whole, while that may yet come.
    """

    def __init__(self, server: ImageServer, file: Path | None = None) -> None:
        self._server = server
        self._file = file
        self._patient_until = time.monotonic() + (server.late_files_seconds if file else 0)
        self._cookies: dict[str, str] = {}
        self._lock = threading.Lock()
        self._given_up = threading.Event()
        self.seen_late = 0

    def size_parameter(self, ask: ThumbnailAsk) -> str:
        """Return the size parameter that gets a thumbnail from this kind of server."""
        return self._server.kind.size_parameter(ask)

    def instead_of(self, ask: ThumbnailAsk, image: Size) -> ThumbnailAsk | None:
        """Return what to ask for in place of a thumbnail that is too thin for this kind of server, if it is."""
        return self._server.kind.instead_of(ask, image)

    def info(self, identifier: str) -> Size:
        """Return the size of the picture as it is served. Raises the errors of the error tree."""
        url = self._server.request_url(identifier, "info.json")
        return self._call(lambda: read_info(self._get_in_time(url)))

    def thumbnail(self, identifier: str, parameter: str, ask: str, image: Size) -> Thumbnail:
        """Fetch the picture at the size that `parameter` means for `image`, asked for by the size parameter `ask`.

        What is returned has been decoded and has that size. Raises the errors of the error tree.
        """
        url = self._server.request_url(identifier, f"full/{ask}/0/default.jpg")
        began = time.monotonic()
        failures: set[str] = set()

        def attempt() -> Thumbnail:
            try:
                answer = self._get_in_time(url)
                if answer.status == httpx.codes.BAD_REQUEST and answer.refuses_the_size():
                    return Refused(answer.text())
                return read_thumbnail(answer, parameter, image, began)
            except TransientError as error:
                failures.add(error.cause)
                raise

        try:
            return self._call(attempt)
        except TransientError as error:
            if error.code != WRONG_SIZE or len(failures) > 1:
                raise
            # It was requested again, and the answer is always the same.
            raise PermanentError(error.code, error.cause, remedy=error.remedy) from error

    def picture(self, identifier: str, request: str) -> bytes:
        """Fetch what a request gets, such as `0,0,512,512/256,256/0/default.jpg`: a JPEG, as far as its beginning says.

        Raises the errors of the error tree.
        """
        url = self._server.request_url(identifier, request)

        def attempt() -> bytes:
            answer = self._get_in_time(url)
            answer.check()
            if not answer.body.startswith(_JPEG):
                raise TransientError(
                    "thumbnail_unreadable", "The image server answered with something else", remedy=PEER.remedy
                )
            return answer.body

        return self._call(attempt)

    def repeat(self, url: str) -> None:
        """Send a request again that failed before. Raises the errors of the error tree."""
        self._call(lambda: self._get_in_time(url).check())

    def _call(self, work: Callable[[], T]) -> T:
        def attempt() -> T:
            try:
                return work()
            except SourceFailedError as error:
                if self._given_up.is_set():
                    raise NotRepeatedError(error) from error
                raise

        try:
            return self._server.retrying.call(attempt)
        except NotRepeatedError as error:
            raise error.last from error
        except SourceFailedError:
            self._given_up.set()
            raise
        except TransientError as error:
            unseen = error.code in {SOURCE_MISSING, FORBIDDEN}
            if not unseen or self._file is None or not self._file.exists():
                raise
            raise TransientError(
                "image_server_disk_not_shared",
                f"The file is on the shared disk for the run, and not for the image server ({error.cause})",
                remedy="Check that both mount the same scratch folder, that its user may read there, and that "
                "DLCS_IMAGE_SERVER_SCRATCH_ROOT says where.",
            ) from error

    def _get_in_time(self, url: str) -> Answer:
        """Repeat the request for a while where the shared disk is late: NFS may hide a new file for seconds."""
        while True:
            answer = self._get(url)
            # A file that is still being written may be visible already, and not be whole.
            late = answer.is_missing or answer.is_unreadable
            if self._file is None or not late or time.monotonic() > self._patient_until:
                return answer
            with self._lock:
                self.seen_late += 1
            time.sleep(_PAUSE_SECONDS)

    def _get(self, url: str) -> Answer:
        headers = {"Accept": "*/*"}
        with self._lock:
            if self._cookies:
                headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            with self._server.permit(url, about=self._server.source_in(url)) as permit:
                # From here on: the wait for a permit is not the server's time.
                deadline = time.monotonic() + self._server.timeout_seconds
                with permit.client.stream("GET", url, headers=headers) as response:
                    self._keep_cookies(response)
                    body = read_body(response, max_bytes=_MAX_BODY_BYTES, deadline=deadline)
                permit.status = response.status_code
            return Answer(url, response.status_code, response.headers, body)
        except BodyTooLongError as error:
            raise TransientError(
                "thumbnail_unreadable", f"The image server's answer has {error}", remedy=PEER.remedy
            ) from error
        except TransientError as error:
            if error.code != BROKE_OFF:
                raise
            raise SourceFailedError(error, url) from error

    def _keep_cookies(self, response: httpx.Response) -> None:
        with self._lock:
            for header in response.headers.get_list("set-cookie"):
                name, separator, value = header.partition(";")[0].strip().partition("=")
                if separator and name in self._server.cookie_names:
                    self._cookies[name] = value
