"""What the image server's answers mean: a whole picture of the right size, a refusal of the size, or an error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import httpx

from dlcs_assets.clients.http import Peer, error_of_status, one_line
from dlcs_assets.clients.jpeg import NotAJpegError, decode_jpeg, measure_jpeg
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size, is_size_asked, parse_size
from dlcs_assets.domain.image_servers import DIALECTS

PEER: Final = Peer(
    "The image server",
    "image_server",
    is_internal=True,
    remedy="Check that the image server is up, and read its log; then retry.",
)
WRONG_SIZE: Final = "thumbnail_wrong_size"
SOURCE_UNREADABLE: Final = "source_unreadable"
SOURCE_MISSING: Final = "image_server_source_missing"
FORBIDDEN: Final = "image_server_forbidden"
BROKE_OFF: Final = f"{PEER.code}_broke_off"
# Of all kinds: a server may be one that the settings call by the name of a similar one.
_REFUSES_SIZE: Final = tuple(text for dialect in DIALECTS.values() for text in dialect.refuses_size)
_UNREADABLE: Final = tuple(text for dialect in DIALECTS.values() for text in dialect.unreadable)


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


class SourceFailedError(TransientError):
    """The image server failed at one source: the source's fault or its own, which other sources show.

    `url` is the request.
    """

    def __init__(self, failed: IngestError, url: str) -> None:
        super().__init__(failed.code, failed.cause, remedy=failed.remedy, stage=failed.stage)
        self.url = url


@dataclass(frozen=True)
class Answer:
    """An answer that came as a whole."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)

    def text(self) -> str:
        """Return what it says, for people."""
        return one_line(self.body[:2000].decode("utf-8", "replace").strip())

    def refuses_the_size(self) -> bool:
        """Return whether it says that this size is not made, rather than that the request is wrong."""
        return self._has_any(_REFUSES_SIZE)

    @property
    def is_missing(self) -> bool:
        """Whether the server does not find the source."""
        return self.status == httpx.codes.NOT_FOUND

    @property
    def is_unreadable(self) -> bool:
        """Whether the server finds the source, and can't make a picture of it."""
        unknown = self.status == httpx.codes.INTERNAL_SERVER_ERROR and self._has_any(_UNREADABLE)
        return unknown or self.status == httpx.codes.NOT_IMPLEMENTED

    def _has_any(self, texts: Sequence[str]) -> bool:
        said = self.text().lower()
        return any(text in said for text in texts)

    def check(self) -> None:
        """Raise the error that an answer without success means."""
        if httpx.codes.is_success(self.status):
            return
        raise self._error()

    def _error(self) -> IngestError:
        detail = self.text()
        match self.status:
            case _ if self.is_missing:
                # Right after an upload it may be a matter of moments.
                return TransientError(
                    SOURCE_MISSING,
                    "The image server does not find the image",
                    remedy="Check that the image server reads the bucket and region, or the folder, that we write to.",
                )
            case httpx.codes.FORBIDDEN if "pixel" in detail.lower():
                return PermanentError(
                    "thumbnail_too_many_pixels",
                    f"The image server makes no picture of that many pixels: {detail}",
                    remedy="Raise its max_pixels, or leave the size out of the policy.",
                )
            case httpx.codes.FORBIDDEN:
                # Also what it says when S3 denies it the source, and seen under load.
                return TransientError(
                    FORBIDDEN,
                    f"The image server may not read the image: {detail}",
                    remedy="Check that its S3 credentials may read the bucket.",
                )
            case _ if self.is_unreadable:
                return PermanentError(
                    SOURCE_UNREADABLE,
                    f"The image server cannot read the source: {detail}",
                    remedy="Replace the original if it is damaged; if its format is not known there, use the "
                    "image policy default, which converts the image.",
                )
        error = error_of_status(self.status, self.headers, PEER, self.url, detail=detail)
        return SourceFailedError(error, self.url) if self.status == httpx.codes.INTERNAL_SERVER_ERROR else error


def read_info(answer: Answer) -> Size:
    """Read the size of the picture from an info.json. Raises the errors of the error tree."""
    answer.check()
    try:
        info = httpx.Response(200, content=answer.body).json()
        size = Size(int(info["width"]), int(info["height"]))
    except (ValueError, LookupError, TypeError):
        size = None
    if size is None or size.width < 1 or size.height < 1:
        raise TransientError(
            "info_unreadable", "The image server's info.json does not give the size of the image", remedy=PEER.remedy
        )
    return size


def read_thumbnail(answer: Answer, parameter: str, image: Size, began: float) -> ThumbnailBytes:
    """Check a thumbnail: a whole JPEG of the size that `parameter` means for `image`, asked for at the moment `began`.

    `began` is one of `time.monotonic()`. Raises the errors of the error tree.
    """
    answer.check()
    try:
        size = measure_jpeg(answer.body)
        if not is_size_asked(parse_size(parameter), image, size):
            raise TransientError(
                WRONG_SIZE,
                f"The image server gave {size.width} x {size.height} for {parameter} of {image.width} x {image.height}",
                remedy="Check that the image server keeps no sources (StreamStrategy), and its caches; then retry.",
            )
        decode_jpeg(answer.body)
    except NotAJpegError as error:
        raise TransientError(
            "thumbnail_unreadable", f"What the image server gave for {parameter} {error}", remedy=PEER.remedy
        ) from error
    return ThumbnailBytes(answer.body, size, round((time.monotonic() - began) * 1000))
