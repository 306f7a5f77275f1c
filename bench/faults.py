"""Faults of an image server, each alone and all mixed: is every size of every image right, after how many requests?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

from bench.result import Result
from bench.system import RunningSystem
from bench.thumbnail_work import Page, make_all
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.settings import Settings
from dlcs_testing.misbehaving import Fault, misbehaving
from dlcs_testing.pictures import drawing, encoded

SHARE = 0.2
GOAL = 2.0
SIZE = Size(240, 360)
THUMBNAILS = ("!160,160", "!120,120", "!90,90", "!60,60")
AT_ONCE = 4  # cases: they mostly wait
CASES = {fault.value: (fault,) for fault in Fault} | {"all mixed": tuple(Fault)}
# The one setting that differs from a run's: a minute for each request that hangs would show nothing more.
TIMEOUT = timedelta(seconds=1)


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (pages of its own)
    """Have a fifth of the answers of the embedded image server spoiled, on their way to the client of a run."""
    drawn = draw(system.settings.scratch, 15 if quick else 300)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(partial(_spoiled, system.settings, drawn), CASES):
            yield from found


def draw(folder: Path, count: int) -> list[Page]:
    """Draw small pages in a folder that the image server reads."""
    pages = []
    for number in range(count):
        path = folder.absolute() / f"page-{number}.jpg"
        path.write_bytes(encoded(drawing(SIZE.width, SIZE.height, seed=number)))
        pages.append(Page(str(path), SIZE, THUMBNAILS))
    return pages


def _spoiled(settings: Settings, pages: Sequence[Page], case: str) -> list[Result]:
    seed = list(CASES).index(case)
    with misbehaving(settings.image_server_url, faults=CASES[case], share=SHARE, seed=seed) as server:
        update = {"image_server_url": server.url, "image_server_timeout": TIMEOUT}
        worked = make_all(settings.model_copy(update=update), pages)
    thumbnails = len(pages) * len(THUMBNAILS)
    name = case.replace(" ", "_")
    return [
        Result("faults", f"images_complete_{name}", worked.complete, "images", len(pages), at_least=True),
        Result("faults", f"images_tried_again_{name}", worked.tried_again, "images"),
        Result("faults", f"requests_per_thumbnail_{name}", round(server.requests / thumbnails, 3), "x", GOAL),
    ]
