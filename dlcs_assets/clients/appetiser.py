"""The client of Appetiser, which turns an image on the shared disk into a JPEG 2000, or into thumbnails, next to it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import httpx

from dlcs_assets.clients.appetiser_answer import PEER, Refusals, expect_jp2, read_size, read_thumbnails
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.image_server_answer import ThumbnailBytes
from dlcs_assets.clients.managed_service import ManagedService
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.media_type import extension_for, sniff

_HEAD_BYTES: Final = 65536

T = TypeVar("T")


@dataclass(frozen=True)
class Conversion:
    """A JPEG 2000 that Appetiser wrote: where it is, and its pixels as Appetiser counted them."""

    path: Path
    width: int
    height: int
    milliseconds: int


@dataclass(kw_only=True, eq=False)
class Appetiser(ManagedService):
    """Appetiser's `POST /convert`. Paths are those that we see."""

    peer: ClassVar[Peer] = PEER

    url: str = "http://127.0.0.1:8000"
    optimisation: str = "kdu_max"
    scratch_root: str | None = None
    appetiser_scratch_root: str | None = None
    in_flight: int = 2
    timeout_seconds: float = 300.0
    attempts: int = 3
    retry_budget_seconds: float = 600.0

    def convert(self, *, job_id: str, image_id: str, origin: str, source: Path, destination: Path) -> Conversion:
        """Have `source` written as a JP2 at `destination`.

        Raises PermanentError for an image that Appetiser can't convert, TransientError and ServiceDownError otherwise.
        """
        began = time.monotonic()

        def attempt(number: int, ask: Callable[[dict[str, Any]], httpx.Response]) -> Size:
            target = destination.with_stem(f"{destination.stem}.{number}")
            try:
                response = ask({"operation": "image-only", "destination": self.seen_by_appetiser(target)})
                size = read_size(response)
                expect_jp2(target)
                target.replace(destination)
                return size
            finally:
                target.unlink(missing_ok=True)

        size = self._attempts({"jobId": job_id, "imageId": image_id, "origin": origin}, source, attempt)
        return Conversion(destination, size.width, size.height, round((time.monotonic() - began) * 1000))

    def thumbnails(
        self, *, job_id: str, image_id: str, origin: str, source: Path, sizes: Sequence[Size], by_way_of_jp2: bool
    ) -> list[ThumbnailBytes]:
        """Have the picture made at exactly these sizes, in that order; files are written next to it for a while.

        `by_way_of_jp2`: it is first turned upright and brought to sRGB, which `derivatives-only` does not do, and the
        JP2 that comes with it is thrown away. What is returned has been decoded and has its size. Raises as `convert`.
        """

        def attempt(number: int, ask: Callable[[dict[str, Any]], httpx.Response]) -> list[ThumbnailBytes]:
            began = time.monotonic()
            folder = source.with_name(f"thumbnails.{number}")
            folder.mkdir()
            request: dict[str, Any] = {
                "operation": "derivatives-only",
                "thumbDir": self.seen_by_appetiser(folder),
                # Of all forms, pixels with a ^ are the only one that it neither refuses, drops nor changes.
                "thumbIIIFSizes": [f"^{size.width},{size.height}" for size in sizes],
            }
            if by_way_of_jp2:
                request |= {"operation": "ingest", "destination": self.seen_by_appetiser(folder / "picture.jp2")}
            try:
                return read_thumbnails(ask(request), folder, sizes, began)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        return self._attempts({"jobId": job_id, "imageId": image_id, "origin": origin}, source, attempt)

    def ping(self) -> bool:
        """Return whether Appetiser answers that it works."""
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

    def _attempts(
        self,
        about: dict[str, Any],
        source: Path,
        attempt: Callable[[int, Callable[[dict[str, Any]], httpx.Response]], T],
    ) -> T:
        """Call `attempt` with its number and a way to ask, until it succeeds.

        One that we gave up may still be written by Appetiser: each has files of its own, named by its number.
        """
        if not source.is_file():
            raise PermanentError(
                "conversion_source_missing",
                f"There is no file {source.name} for Appetiser to read",
                remedy="The scratch folder was cleared under a running ingest; retry the image.",
            )
        numbers, refusals, url = count(1), Refusals(), self._route("convert")
        common = {
            **about,
            "source": self.seen_by_appetiser(_named_by_its_format(source)),
            "optimisation": self.optimisation,
            "thumbIIIFSizes": [],
        }

        def ask(request: dict[str, Any]) -> httpx.Response:
            body = {**common, **request}
            with self.permit(url) as permit:
                response = permit.client.post(url, json=body)
                permit.status = response.status_code
            if not response.is_success:
                raise refusals.error(response, self.url, body)
            return response

        return self.retrying.call(lambda: attempt(next(numbers), ask))


def _named_by_its_format(source: Path) -> Path:
    """Return the file by a name that shows its format: Appetiser reads the suffix only."""
    with source.open("rb") as file:
        found = sniff(file.read(_HEAD_BYTES))
    extension = extension_for(found.media_type) if found else None
    if extension is None or source.suffix == f".{extension}":
        return source
    named = source.with_suffix(f".{extension}")
    if not named.exists():
        named.symlink_to(source.name)
    return named
