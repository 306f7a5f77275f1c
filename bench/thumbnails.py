"""Thumbnails per second through the client of a run, against what the image server gives a plain load generator."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import httpx

from bench.result import Result, of_many
from bench.system import RunningSystem
from bench.thumbnail_work import Page, image_server, make_all
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.settings import Settings
from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.models import Optimisation

GOAL = 0.9


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Alternate between the two: what else the machine does meets both."""
    count, rounds = (6, 1) if quick else (32, 5)
    stored = store(system, list(islice(cycle(pages), count)))
    generate_load(system.settings, stored[:4])  # the server's processes have started after it
    found: dict[str, list[Pace]] = {"plain_load": [], "client": []}
    for _ in range(rounds):
        found["plain_load"].append(_pace(system.settings, stored, generate_load))
        found["client"].append(_pace(system.settings, stored, make_thumbnails))
    for name, paces in found.items():
        yield of_many("thumbnails", f"thumbnails_per_second_{name}", [pace.per_second for pace in paces], "/s")
        yield of_many("thumbnails", f"decodes_per_image_{name}", [pace.decodes for pace in paces], "")
    ratios = [ours.per_second / plain.per_second for plain, ours in zip(*found.values(), strict=True)]
    yield of_many("thumbnails", "ratio_to_plain_load", ratios, "x", GOAL, at_least=True)


@dataclass(frozen=True)
class Pace:
    """Thumbnails per second, and how often the server decoded each image for them."""

    per_second: float
    decodes: float


def _pace(settings: Settings, pages: Sequence[Page], way: Callable[[Settings, Sequence[Page]], None]) -> Pace:
    before, began = _decodes(settings), time.monotonic()
    way(settings, pages)
    seconds = time.monotonic() - began
    thumbnails = sum(len(page.asks) for page in pages)
    return Pace(thumbnails / seconds, (_decodes(settings) - before) / len(pages))


def _decodes(settings: Settings) -> int:
    counts: dict[str, int] = httpx.get(f"{settings.image_server_url}/health", trust_env=False).json()
    return counts["decodes"]


def store(system: RunningSystem, files: Sequence[Path]) -> list[Page]:
    """Put pages as JP2s, as Appetiser makes them, where the image server reads them."""
    from PIL import Image

    stored = []
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            target = Path(folder) / f"{number}.jp2"
            with Image.open(file) as picture:
                encode(picture.convert("RGB"), target, Optimisation.MAX, None)
                size = Size(*picture.size)
            key = f"2/1/page-{number}"
            system.s3.upload_file(str(target), system.settings.storage_bucket, key)
            identifier = f"s3://{system.settings.storage_bucket}/{key}"
            stored.append(Page(identifier, size, system.settings.default_thumbnail_sizes))
    return stored


def generate_load(settings: Settings, pages: Sequence[Page]) -> None:
    """Make the requests that the client makes, as many at a time as it may, and check nothing but the status."""
    with image_server(settings) as ours:
        urls = [
            ours.request_url(page.identifier, f"full/{ask.ask}/0/default.jpg") for page in pages for ask in page.asks
        ]
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        ThreadPoolExecutor(settings.image_server_in_flight) as pool,
    ):
        for answer in pool.map(client.get, urls):
            answer.raise_for_status()


def make_thumbnails(settings: Settings, pages: Sequence[Page]) -> None:
    """Make the requests as a run does."""
    if make_all(settings, pages).complete != len(pages):
        raise RuntimeError("not every page has every size")
