"""What an answer of Appetiser, and the files it wrote, mean: whole and of the right size, or an error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from dlcs_assets.clients.http import Peer, error_of_status, one_line
from dlcs_assets.clients.image_server_answer import WRONG_SIZE, ThumbnailBytes
from dlcs_assets.clients.jpeg import NotAJpegError, decode_jpeg, measure_jpeg
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size

PEER: Final = Peer(
    "Appetiser",
    "appetiser",
    is_internal=True,
    remedy="Check that Appetiser is up (GET /ping) and read its log; then retry.",
)
_UNKNOWN_RESPONSE: Final = "Unknown response from Appetiser"
_REFUSED_REMEDY: Final = "Look whether the image opens elsewhere; put a good one at its origin, then ingest it again."
_SHARED_REMEDY: Final = "Check that both mount the same scratch folder, and check DLCS_APPETISER_SCRATCH_ROOT."
# Texts of errors of its machine, which the next attempt, or the next image, may not meet.
_NOT_THE_IMAGE: Final = ("no space left", "cannot allocate memory", "out of memory", "stale file handle")
_UNSEEN: Final = {"path_not_file": "source", "path_not_directory": "thumbDir"}


def refusal_text(status: int, body: bytes) -> str:
    """Return what an error answer of Appetiser says, in the words in which the DLCS shows it to customers.

    A 422 lists fields (`source: /a.jpg - Path does not point to a file`), all others carry one text.
    """
    try:
        detail = httpx.Response(status, content=body).json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    if status == httpx.codes.UNPROCESSABLE_ENTITY:
        items = [item for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []
        return one_line(". ".join(map(_field_text, items))) if items else "Appetiser Validation error"
    return one_line(detail.strip()) if isinstance(detail, str) and detail.strip() else _UNKNOWN_RESPONSE


class Refusals:
    """The refusals of one request that is made again and again: a text that comes twice is about the image."""

    def __init__(self) -> None:
        self._last_text: str | None = None

    def error(self, response: httpx.Response, url: str) -> IngestError:
        """Return what an answer without success means."""
        status = response.status_code
        text = refusal_text(status, response.content)
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            if _is_unseen(response):
                return TransientError(
                    "appetiser_cannot_see_source",
                    f"Appetiser does not find the file or folder that we see: {text}",
                    remedy=_SHARED_REMEDY,
                )
            return PermanentError("appetiser_refused", f"Appetiser refused: {text}", remedy=_REFUSED_REMEDY)
        about_the_image = text != _UNKNOWN_RESPONSE and not any(sign in text.lower() for sign in _NOT_THE_IMAGE)
        if status != httpx.codes.INTERNAL_SERVER_ERROR or not about_the_image:
            return error_of_status(status, response.headers, PEER, url, detail=text)
        # A passing trouble seldom says the same twice; an image that can't be converted does.
        repeated, self._last_text = text == self._last_text, text
        failure = PermanentError if repeated else TransientError
        return failure("conversion_failed", f"Appetiser refused: {text}", remedy=_REFUSED_REMEDY)


def read_size(response: httpx.Response) -> Size:
    """Read the size of the JP2. Raises `TransientError`, code `appetiser_unreadable`."""
    try:
        body = response.json()
        width, height = int(body["width"]), int(body["height"])
    except (ValueError, LookupError, TypeError):
        width = height = 0
    if width < 1 or height < 1:
        raise _unreadable("does not give the size of the JP2")
    return Size(width, height)


def expect_jp2(path: Path) -> None:
    """Raise `TransientError`, code `conversion_missing`, if nothing was written."""
    if not path.is_file() or path.stat().st_size == 0:
        raise TransientError(
            "conversion_missing", "Appetiser says that it wrote the JP2, and there is none", remedy=_SHARED_REMEDY
        )


def read_thumbnails(
    response: httpx.Response, folder: Path, sizes: Sequence[Size], began: float
) -> list[ThumbnailBytes]:
    """Read the thumbnails that were asked for, in that order, from the folder where they were to be written.

    Each is a whole JPEG of exactly its size. `began` is a moment of `time.monotonic()`. Raises `TransientError`: what
    is not there, or not whole, is asked for again.
    """
    names = _names(response)
    return [_read_thumbnail(folder, names.get(size), size, began) for size in sizes]


def _names(response: httpx.Response) -> dict[Size, str]:
    try:
        thumbs = response.json()["thumbs"]
        # The path is as Appetiser sees it: what counts is the name.
        return {Size(int(each["width"]), int(each["height"])): each["path"].rpartition("/")[2] for each in thumbs}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable("does not list the thumbnails") from error


def _read_thumbnail(folder: Path, name: str | None, size: Size, began: float) -> ThumbnailBytes:
    path = folder / name if name else None
    if path is None or not path.is_file():
        said = "says that it made, and it is not there" if name else "was asked for and did not make"
        raise TransientError(
            "thumbnail_missing", f"There is a thumbnail of {size} that Appetiser {said}", remedy=_SHARED_REMEDY
        )
    data = path.read_bytes()
    try:
        measured = measure_jpeg(data)
        if measured != size:
            raise TransientError(WRONG_SIZE, f"Appetiser gave {measured} for {size}", remedy=PEER.remedy)
        decode_jpeg(data)
    except NotAJpegError as error:
        raise TransientError(
            "thumbnail_unreadable", f"What Appetiser gave for {size} {error}", remedy=PEER.remedy
        ) from error
    return ThumbnailBytes(data, size, round((time.monotonic() - began) * 1000))


def _unreadable(what: str) -> TransientError:
    return TransientError("appetiser_unreadable", f"Appetiser's answer {what}", remedy=PEER.remedy)


def _field_text(item: dict[str, Any]) -> str:
    loc = item.get("loc")
    path = [str(part) for part in loc] if isinstance(loc, list) else []
    name = ">".join(path[1:] if len(path) > 1 else path)
    return f"{name}: {_shown(item.get('input'))} - {_shown(item.get('msg'))}"


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _is_unseen(response: httpx.Response) -> bool:
    """Return whether it does not find what we put there: it may yet appear, or the folder is not the same."""
    try:
        return any(_UNSEEN.get(item["type"]) == item["loc"][-1] for item in response.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return False
