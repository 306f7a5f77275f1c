"""What a run does for the thumbnails of its images, without what it does before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

from dlcs_assets.clients.image_server import ImageServer, ThumbnailBytes
from dlcs_assets.defs.resources import build_resources
from dlcs_assets.domain.errors import TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.thumbnails import ThumbnailAsk, plan_thumbnails
from dlcs_assets.settings import Settings


@dataclass(frozen=True)
class Page:
    """An image: how the image server finds it, its size, and the thumbnails that it is to have."""

    identifier: str
    size: Size
    sizes: tuple[str, ...]

    @property
    def asks(self) -> tuple[ThumbnailAsk, ...]:
        """What is asked for, largest first."""
        return plan_thumbnails(self.sizes, self.size).asks


@dataclass(frozen=True)
class Worked:
    """How many images have every size right in the end, and how many attempts at an image the ledger would add."""

    complete: int
    tried_again: int


def make_all(settings: Settings, pages: Sequence[Page]) -> Worked:
    """Work with the client, the limits and the retries of a run.

    Of an image that failed for a passing reason all sizes are made again when the others are through, as often as the
    ledger's schedule has it. Every size counts only when it was decoded and has the pixels that were asked for.
    """
    left, tried_again = list(pages), 0
    with image_server(settings) as client, workers(settings) as (images, sizes):
        for attempt in range(settings.attempts):
            tried_again += len(left) if attempt else 0
            whole = list(images.map(partial(_has_all_sizes, client, sizes), left))
            left = [page for page, is_whole in zip(left, whole, strict=True) if not is_whole]
    return Worked(len(pages) - len(left), tried_again)


@contextmanager
def image_server(settings: Settings) -> Iterator[ImageServer]:
    """Make the client that a run with these settings has."""
    with cast("ImageServer", build_resources(settings)["image_server"].client()) as client:
        yield client


@contextmanager
def workers(settings: Settings) -> Iterator[tuple[Executor, Executor]]:
    """Make the threads of a run, for images and for their sizes."""
    with (
        ThreadPoolExecutor(settings.images_in_flight) as images,
        ThreadPoolExecutor(settings.image_server_in_flight) as sizes,
    ):
        yield images, sizes


def _has_all_sizes(client: ImageServer, sizes: Executor, page: Page) -> bool:
    session = client.session()

    def size_of(ask: ThumbnailAsk) -> Size | None:
        thumbnail = session.thumbnail(page.identifier, ask.parameter, session.size_parameter(ask), page.size)
        return thumbnail.size if isinstance(thumbnail, ThumbnailBytes) else None

    try:
        return list(sizes.map(size_of, page.asks)) == [ask.expected for ask in page.asks]
    except TransientError:
        return False
