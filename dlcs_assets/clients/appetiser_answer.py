"""What an answer of Appetiser, and the files it wrote, mean: whole and of the right size, or an error."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import httpx

from dlcs_assets.clients.http import Peer, error_of_status, one_line
from dlcs_assets.clients.image_server_answer import WRONG_SIZE, ThumbnailBytes
from dlcs_assets.clients.jpeg import NotAJpegError, decode_jpeg, measure_jpeg
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.iiif_size import Size

PEER: Final = Peer(
    "Appetiser",
    "appetiser",
    is_internal=True,
    remedy="Check that Appetiser is up (GET /ping) and read its log; then retry.",
)
_UNKNOWN_RESPONSE: Final = "Unknown response from Appetiser"
_REFUSED_REMEDY: Final = "See the reason, and Appetiser's log; then ingest the image again."
_CONVERT_REMEDY: Final = (
    "If it opens elsewhere, it is of a kind that Appetiser does not convert: convert it to grey or RGB of 8 bits, or "
    "use the image policy use-original if the image server reads it; otherwise put a whole one at its origin."
)
_SHARED_REMEDY: Final = "Check that both mount the same scratch folder, and check DLCS_APPETISER_SCRATCH_ROOT."
# Texts of errors of its machine, which the next attempt, or the next image, may not meet.
_NOT_THE_IMAGE: Final = ("no space left", "cannot allocate memory", "out of memory", "stale file handle")
_UNKNOWN_MODE: Final = re.compile("image_mode '[^']*' is not in known list")
# What is left of the failure of a program that its shell calls. Its own reason goes nowhere.
_FAILED_COMMAND: Final = re.compile(r"Command '.*' returned non-zero exit status (?P<status>\d+)", re.DOTALL)
_NOT_EXECUTABLE, _NOT_FOUND, _KILLED, _TERMINATED = 126, 127, 128 + 9, 128 + 15
_FAILED_CHECK: Final = "path_not_file"  # of its own answer: what it wrote is not where it was to be
_LONGEST_COMMAND: Final = 20_000
_UNSEEN: Final = {"path_not_file": "source", "path_not_directory": "thumbDir"}


def refusal_text(status: int, body: bytes, *, limit: int = 500) -> str:
    """Return what an error answer of Appetiser says, in the words in which the DLCS shows it to customers.

    It is one line of up to `limit` characters. A 422 lists fields (`source: /a.jpg - Path does not point to a file`),
    all others carry one text.
    """
    try:
        detail = httpx.Response(status, content=body).json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    if status == httpx.codes.UNPROCESSABLE_ENTITY:
        items = [item for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []
        return one_line(". ".join(map(_field_text, items)), limit=limit) if items else "Appetiser Validation error"
    if not isinstance(detail, str) or not detail.strip():
        return _UNKNOWN_RESPONSE
    return one_line(detail.strip(), limit=limit)


class Refusals:
    """The refusals of one request that is repeated: a text that comes twice is about the image."""

    def __init__(self) -> None:
        self._last_text: str | None = None

    def error(self, response: httpx.Response, url: str, request: Mapping[str, object]) -> IngestError:
        """Return what an answer without success means. `request` is the body that it answers."""
        status = response.status_code
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            return _error_of_refused_request(response)
        said = refusal_text(status, response.content, limit=_LONGEST_COMMAND)
        text = one_line(_without_paths(said, request))
        command = _FAILED_COMMAND.search(said)
        command_status = int(command["status"]) if command else 0
        if command_status in {_NOT_EXECUTABLE, _NOT_FOUND}:
            return _encoder_missing(text)
        if (command or _FAILED_CHECK in said) and (unsafe := _unsafe_path(request)):
            return _path_unsafe(unsafe)
        about_the_image = text != _UNKNOWN_RESPONSE and not any(sign in text.lower() for sign in _NOT_THE_IMAGE)
        killed = command_status in {_KILLED, _TERMINATED}
        if status != httpx.codes.INTERNAL_SERVER_ERROR or not about_the_image or killed:
            return error_of_status(status, response.headers, PEER, url, detail=text)
        unknown_mode = _UNKNOWN_MODE.search(said)
        # A transient failure seldom has the same text twice; an image that can't be converted does.
        repeated, self._last_text = text == self._last_text, text
        failure = PermanentError if repeated or unknown_mode else TransientError
        return failure("conversion_failed", f"Appetiser refused: {text}", remedy=_CONVERT_REMEDY)


def _error_of_refused_request(response: httpx.Response) -> IngestError:
    text = refusal_text(response.status_code, response.content)
    if _is_unseen(response):
        return TransientError(
            "appetiser_cannot_see_source",
            f"Appetiser does not find the file or folder that we see: {text}",
            remedy=_SHARED_REMEDY,
        )
    return PermanentError("appetiser_refused", f"Appetiser refused: {text}", remedy=_REFUSED_REMEDY)


def _encoder_missing(text: str) -> IngestError:
    return ServiceDownError(
        "appetiser_encoder_missing",
        f"Appetiser can't start its encoder, though GET /ping is answered: {text}",
        remedy="Check KDU_COMPRESS and KDU_LIB of Appetiser (GET /config); images wait until it converts again.",
    )


def _path_unsafe(path: str) -> IngestError:
    return ServiceDownError(
        "appetiser_path_unsafe",
        f"Appetiser hands paths to a shell without quotes, which cuts this one: {path}",
        remedy="Mount the scratch folder at a path without spaces and special characters (DLCS_SCRATCH, "
        "DLCS_APPETISER_SCRATCH_ROOT); images wait until then.",
    )


def _without_paths(text: str, request: Mapping[str, object]) -> str:
    """Return the text without the folder of the source, and without what has the number of the attempt in it."""
    for name in ("destination", "thumbDir"):
        if path := request.get(name):
            text = text.replace(str(path), f"({name})")
    return text.replace(f"{PurePosixPath(str(request['source'])).parent}/", "")


def _unsafe_path(request: Mapping[str, object]) -> str | None:
    """Return a path of a request that a shell does not take as it is."""
    paths = [str(request[name]) for name in ("source", "destination") if request.get(name)]
    return next((path for path in paths if shlex.quote(path) != path), None)


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
