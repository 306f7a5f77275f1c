"""The client of Appetiser, which turns an image on the shared disk into a JPEG 2000 beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
from pydantic import Field

from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.resources.gentle import GentleService
from dlcs_assets.resources.http import Peer, error_of_status, one_line

_PEER: Final = Peer(
    "Appetiser", "appetiser", ours=True, remedy="See that Appetiser is up (GET /ping) and read its log; then retry."
)
_UNKNOWN_RESPONSE: Final = "Unknown response from Appetiser"
_REFUSED_REMEDY: Final = "Look whether the image opens elsewhere; put a good one at its origin, then ingest it again."
# Texts of errors of its machine, which the next attempt, or the next image, may not meet.
_NOT_THE_IMAGE: Final = ("no space left", "cannot allocate memory", "out of memory", "stale file handle")


@dataclass(frozen=True)
class Conversion:
    """A JPEG 2000 that Appetiser wrote: where it is, and its pixels as Appetiser counted them."""

    path: Path
    width: int
    height: int
    milliseconds: int


class Appetiser(GentleService):
    """Appetiser's `POST /convert`, operation `image-only`."""

    peer: ClassVar[Peer] = _PEER

    url: str = Field(default="http://127.0.0.1:8000", description="Base URL of Appetiser.")
    optimisation: str = Field(default="kdu_max", description="Profile that Appetiser is asked for.")
    scratch_root: str | None = Field(default=None, description="The scratch folder as we see it.")
    appetiser_scratch_root: str | None = Field(
        default=None, description="The same folder as Appetiser sees it; default: the same path."
    )
    in_flight: int = Field(default=2, ge=1, description="Conversions in flight at most.")
    timeout_seconds: float = Field(default=300.0, gt=0, description="Time limit of one conversion.")
    attempts: int = Field(default=3, ge=1, description="Attempts at one conversion at most.")
    retry_budget_seconds: float = Field(default=600.0, ge=0, description="No further attempt is begun after this time.")

    def convert(self, *, job_id: str, image_id: str, origin: str, source: Path, destination: Path) -> Conversion:
        """Have `source` written as a JP2 at `destination`; both are paths as we see them.

        Raises PermanentError for an image that Appetiser can't convert, TransientError and ServiceDown otherwise.
        """
        if not source.is_file():
            raise PermanentError(
                "conversion_source_missing",
                f"There is no file {source.name} to convert",
                remedy="The scratch folder was cleared under a running ingest; retry the image.",
            )
        attempts = _Attempts(destination)
        began = time.monotonic()

        def attempt() -> tuple[int, int]:
            with attempts.target() as target:
                request = {
                    "jobId": job_id,
                    "imageId": image_id,
                    "origin": origin,
                    "source": self.seen_by_appetiser(source),
                    "destination": self.seen_by_appetiser(target),
                    "operation": "image-only",
                    "optimisation": self.optimisation,
                    "thumbIIIFSizes": [],
                }
                response = self._post(request)
                if not response.is_success:
                    raise attempts.refusal(response, self.url)
                size = _read_size(response)
                _expect_file(target)
                target.replace(destination)
                return size

        width, height = self.retrying.call(attempt)
        return Conversion(destination, width, height, round((time.monotonic() - began) * 1000))

    def ping(self) -> bool:
        """Tell whether Appetiser is up and says that it works."""
        try:
            return self.client.get(self._route("ping"), timeout=self.connect_timeout_seconds).is_success
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    def seen_by_appetiser(self, path: Path) -> str:
        """Return the path under which Appetiser finds a file of the shared scratch folder."""
        absolute = path.absolute()
        if self.scratch_root is None or self.appetiser_scratch_root is None:
            return absolute.as_posix()
        relative = absolute.relative_to(Path(self.scratch_root).absolute())
        return f"{self.appetiser_scratch_root.rstrip('/')}/{relative.as_posix()}"

    def _route(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _post(self, request: dict[str, Any]) -> httpx.Response:
        url = self._route("convert")
        with self.turn(url) as turn:
            response = turn.client.post(url, json=request)
            turn.status = response.status_code
        return response


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


class _Attempts:
    """The attempts at one conversion: a file of its own for each, and what the last one was told."""

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._number = 0
        self._last_text: str | None = None

    @contextmanager
    def target(self) -> Iterator[Path]:
        """Yield where this attempt is to be written.

        An attempt that we gave up may still be written by Appetiser: not into the file of its successor.
        """
        self._number += 1
        target = self._destination.with_stem(f"{self._destination.stem}.{self._number}")
        try:
            yield target
        finally:
            target.unlink(missing_ok=True)

    def refusal(self, response: httpx.Response, url: str) -> IngestError:
        status = response.status_code
        text = refusal_text(status, response.content)
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            if _is_about_the_source(response):
                return TransientError(
                    "appetiser_cannot_see_source",
                    f"Appetiser does not find the file that we see: {text}",
                    remedy="See that both mount the same scratch folder, and check DLCS_APPETISER_SCRATCH_ROOT.",
                )
            return PermanentError("appetiser_refused", f"Appetiser refused: {text}", remedy=_REFUSED_REMEDY)
        about_the_image = text != _UNKNOWN_RESPONSE and not any(sign in text.lower() for sign in _NOT_THE_IMAGE)
        if status != httpx.codes.INTERNAL_SERVER_ERROR or not about_the_image:
            return error_of_status(status, response.headers, _PEER, url, detail=text)
        # A passing trouble seldom says the same twice; an image that can't be converted does.
        repeated, self._last_text = text == self._last_text, text
        failure = PermanentError if repeated else TransientError
        return failure("conversion_failed", f"Appetiser refused: {text}", remedy=_REFUSED_REMEDY)


def _field_text(item: dict[str, Any]) -> str:
    loc = item.get("loc")
    path = [str(part) for part in loc] if isinstance(loc, list) else []
    name = ">".join(path[1:] if len(path) > 1 else path)
    return f"{name}: {_shown(item.get('input'))} - {_shown(item.get('msg'))}"


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _is_about_the_source(response: httpx.Response) -> bool:
    try:
        items = response.json()["detail"]
        return any(item["type"] == "path_not_file" and item["loc"][-1] == "source" for item in items)
    except (ValueError, LookupError, TypeError):
        return False


def _read_size(response: httpx.Response) -> tuple[int, int]:
    try:
        body = response.json()
        width, height = int(body["width"]), int(body["height"])
    except (ValueError, LookupError, TypeError):
        width = height = 0
    if width < 1 or height < 1:
        raise TransientError(
            "appetiser_unreadable", "Appetiser's answer does not give the size of the JP2", remedy=_PEER.remedy
        )
    return width, height


def _expect_file(path: Path) -> None:
    if not path.is_file() or path.stat().st_size == 0:
        raise TransientError(
            "conversion_missing",
            "Appetiser says that it wrote the JP2, and there is none",
            remedy="See that both mount the same scratch folder, and check DLCS_APPETISER_SCRATCH_ROOT.",
        )
