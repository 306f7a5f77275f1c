"""The load that broke the earlier system: eight runs at once, 1,000 JP2s, a server that fails when it is pressed."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import httpx

from bench.result import Result
from bench.system import RunningSystem
from bench.thumbnail_work import Page, make_all
from bench.unsteady_server import Failing, Served, UnsteadyServer, serving
from dlcs_assets.clients.jpeg import NotAJpegError, decode_jpeg, measure_jpeg
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.thumbnails import ThumbnailAsk, plan_thumbnails
from dlcs_assets.settings import DEFAULT_THUMBNAIL_SIZES, Settings
from dlcs_testing.pictures import encoded

RUNS = 8
GOAL = 1.5
TOO_MANY = 64  # in flight by the settings, four times what the server stands
SIZE = Size(2400, 3600)
ASKS = plan_thumbnails(DEFAULT_THUMBNAIL_SIZES, SIZE).asks


class End(StrEnum):
    """How an image ended."""

    COMPLETE = "complete"
    BROKEN = "held to be complete, with a size that is none"
    FAILED = "failed"


@dataclass(frozen=True)
class Chunk:
    """The share of one run: images, and settings that differ from the defaults."""

    images: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass
class Worked:
    """What became of images, and how many attempts at an image the ledger would add."""

    ends: Counter[End]
    tried_again: int = 0


Way = Callable[[Chunk], Worked]


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (no system)
    """Make the same thumbnails against a server that never fails, one that does, and that in the earlier way."""
    count, some = (24, 24) if quick else (1000, 120)
    pictures = thumbnails_of(pages[0])
    with tempfile.TemporaryDirectory() as folder, runs() as at_once:
        go = partial(_go, at_once, {"slots": Path(folder)}, count)
        steady, _, _ = go(gently, UnsteadyServer(pictures))
        yield Result("load", f"seconds_{count}_images_never_failing", steady, "s")
        seconds, worked, served = go(gently, UnsteadyServer(pictures, Failing()))
        yield Result("load", f"seconds_{count}_images_failing_with_load", seconds, "s")
        yield Result("load", "ratio_to_never_failing", round(seconds / steady, 3), "x", GOAL)
        yield from _results("", worked, served, count, goal=count)
        yield Result("load", "images_tried_again", worked.tried_again, "images")
        unlimited = {"slots": Path(folder), "image_server_in_flight": TOO_MANY}
        seconds, worked, served = _go(at_once, unlimited, some, gently, UnsteadyServer(pictures, Failing()))
        yield Result("load", f"seconds_{TOO_MANY}_allowed", seconds, "s")
        yield from _results(f"_{TOO_MANY}_allowed", worked, served, some)
        yield Result("load", f"images_tried_again_{TOO_MANY}_allowed", worked.tried_again, "images")
        seconds, worked, served = go(as_before, UnsteadyServer(pictures, Failing()))
        yield Result("load", "seconds_as_before", seconds, "s")
        yield from _results("_as_before", worked, served, count)
        yield Result("load", "images_broken_unnoticed_as_before", worked.ends[End.BROKEN], "images")


def _results(suffix: str, worked: Worked, served: Served, count: int, goal: float | None = None) -> Iterator[Result]:
    yield Result("load", f"images_complete{suffix}", worked.ends[End.COMPLETE], "images", goal, at_least=True)
    yield Result("load", f"requests_per_thumbnail{suffix}", round(served.requests / count / len(ASKS), 3), "")
    yield Result("load", f"most_in_flight{suffix}", served.max_in_flight, "requests")


def thumbnails_of(page: Path) -> dict[str, bytes]:
    """Make what the server gives: a page in each of the sizes that are asked for."""
    from PIL import Image

    with Image.open(page) as opened:
        picture = opened.convert("RGB")
    return {ask.ask: encoded(picture.resize((ask.expected.width, ask.expected.height)), quality=80) for ask in ASKS}


def runs() -> ProcessPoolExecutor:
    """Return processes as those of runs, which begin their chunks at the same moment."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(RUNS, context, _enter, (context.Barrier(RUNS),))


_together: Barrier


def _enter(barrier: Barrier) -> None:
    global _together  # noqa: PLW0603 (a barrier can be given to a process at its start only)
    _together = barrier


def _timed(way: Way, chunk: Chunk) -> tuple[float, float, Worked]:
    _together.wait()
    began = time.monotonic()  # one clock for all processes of a machine
    worked = way(chunk)
    return began, time.monotonic(), worked


def _go(
    at_once: Executor, settings: Mapping[str, Any], count: int, way: Way, unsteady: UnsteadyServer
) -> tuple[float, Worked, Served]:
    """Have a number of images made in one way, by all runs at once; return the seconds, the outcomes and the load."""
    images = [f"s3://dlcs-storage/2/1/page-{number:04}" for number in range(count)]
    with serving(unsteady) as server:
        here = {**settings, "image_server_url": server.url}
        chunks = [Chunk(tuple(images[run::RUNS]), here) for run in range(RUNS)]
        ended = list(at_once.map(_timed, [way] * RUNS, chunks))
        served = server.served()
    began, over = min(one[0] for one in ended), max(one[1] for one in ended)
    ends, tried_again = Counter[End](), 0
    for _, _, worked in ended:
        ends.update(worked.ends)
        tried_again += worked.tried_again
    if ends.total() != count:
        raise RuntimeError(f"{ends.total()} of {count} images ended")
    return round(over - began, 2), Worked(ends, tried_again), served


def gently(chunk: Chunk) -> Worked:
    """Work as a run does."""
    pages = [Page(image, SIZE, DEFAULT_THUMBNAIL_SIZES) for image in chunk.images]
    made = make_all(Settings(**chunk.settings), pages)
    ends = Counter({End.COMPLETE: made.complete, End.FAILED: len(pages) - made.complete})
    return Worked(ends, made.tried_again)


def as_before(chunk: Chunk) -> Worked:
    """Work as the earlier system did: as many images at once, one size after another, no retries, each 200 believed."""
    settings = Settings(**chunk.settings)
    with (
        httpx.Client(base_url=settings.image_server_url, timeout=60, limits=httpx.Limits(), trust_env=False) as client,
        ThreadPoolExecutor(settings.images_in_flight) as images,
    ):
        return Worked(Counter(images.map(partial(_end_as_before, client), chunk.images)))


def _end_as_before(client: httpx.Client, image: str) -> End:
    bodies = []
    try:
        for ask in ASKS:
            answer = client.get(f"/iiif/3/{image.replace('/', '%2F')}/full/{ask.ask}/0/default.jpg")
            bodies.append(answer.raise_for_status().content)
    except httpx.HTTPError:
        return End.FAILED
    return End.COMPLETE if all(map(_is_right, bodies, ASKS)) else End.BROKEN


def _is_right(body: bytes, ask: ThumbnailAsk) -> bool:
    try:
        size = measure_jpeg(body)
        decode_jpeg(body)
    except NotAJpegError:
        return False
    return size == ask.expected
