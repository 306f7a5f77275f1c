"""The pages of images: how soon a wall is painted, how it is scrolled, and what a page asks of a large ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
from playwright.sync_api import Page  # noqa: TID253 (this case is about a browser)
from sqlalchemy import select

from bench.result import Result, of_many, percentile_95
from bench.scale_data import fill_ledger, image_ids
from bench.system import RunningSystem
from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.results import ObjectRecord
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.storage_keys import thumbnail_key
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.details import Holding
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.ledger.tables import outcomes
from dlcs_assets.ledger.writes import set_details
from dlcs_assets.settings import Settings
from dlcs_assets.view.app import create_app
from dlcs_assets.view.pages import ON_A_WALL
from dlcs_assets.view.pictures import TILE_EDGE, Pictures, make_image_server
from dlcs_testing.asgi_service import served
from dlcs_testing.browser import chromium, new_page
from dlcs_testing.listening import statements
from dlcs_testing.pictures import jpeg

IMAGES: Final = 10_000
COUNTS: Final = (10_000, 1_000_000)
QUICK_COUNTS: Final = (10_000, 20_000)
QUICK_PAGES: Final = 3  # of the wall
THUMBNAIL: Final = jpeg(TILE_EDGE, TILE_EDGE * 3 // 2, quality=80)
ROUNDS: Final = 5
PAINT_GOAL: Final = 1.0
FRAME_GOAL: Final = 0.05
PAGE_GOAL: Final = 1.0
# Without what is summed up in the background (customers), and what is counted from runs that ended (numbers).
PATHS: Final = {
    "first_page": "/",
    "wall": "/images",
    "wall_in_the_middle": "/images?customer=5&after=5/5/image-000-5",
    "wall_of_failed": "/images?state=failed",
    "wall_of_a_reason": "/images?reason=origin_not_found",
    "name": "/find?name=image-000-3",
    "image": "/image?id=2/1/image-000-0",
    "failures": "/failures",
    "batches": "/batches",
    "backfills": "/backfills",
}
PAINTED: Final = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
# A step of a wheel in each frame, to the end of the page; how long each frame took.
SCROLL: Final = """async () => {
  const frames = [];
  let before = await new Promise(requestAnimationFrame);
  for (let top = 0; top < document.documentElement.scrollHeight; top += 100) {
    window.scrollTo(0, top);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  return frames;
}"""


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (rows, not pages)
    """Look through the wall of a library in a browser, and ask for pages of two ledgers."""
    with _pages(system, IMAGES) as (url, images):
        walls = QUICK_PAGES if quick else -(-len(images) // ON_A_WALL)
        _store_thumbnails(system, sorted(AssetId.parse(image) for image in images)[: walls * ON_A_WALL])
        with chromium() as browser:
            yield from _in_a_browser(new_page(browser, url), walls)
    asked: dict[str, set[int]] = {name: set() for name in PATHS}
    for count in QUICK_COUNTS if quick else COUNTS:
        with _pages(system, count) as (url, _), httpx.Client(base_url=url, timeout=600) as client:
            for name, path in PATHS.items():
                with statements() as seen:
                    _get(client, path)
                asked[name].add(len(seen))
                seconds = [_get(client, path) for _ in range(ROUNDS)]
                yield of_many("wall", f"seconds_of_{name}_{count}_images", seconds, "s", PAGE_GOAL)
    for name, numbers in asked.items():
        if len(numbers) != 1:
            raise RuntimeError(f"The page {name} asks the ledger as often as it is large: {sorted(numbers)} statements")
        yield Result("wall", f"statements_of_{name}", numbers.pop(), "")


def _in_a_browser(page: Page, count: int) -> Iterator[Result]:
    """Go from page to page, to the end of each one."""
    painted, frames, complete = [], [], []
    page.goto("/images")  # what is loaded for the first time is loaded
    page.goto("/images")
    for _ in range(count):
        began = time.monotonic()
        page.wait_for_load_state("load")
        painted.append(_wait_for_paint(page) / 1000)
        frames += [frame / 1000 for frame in page.evaluate(SCROLL)]
        page.wait_for_load_state("networkidle")
        complete.append(time.monotonic() - began)
        if page.get_by_role("link", name="next page").count() == 0:
            break
        page.get_by_role("link", name="next page").click()
    yield of_many("wall", "first_paint_seconds", painted, "s", PAINT_GOAL)
    yield Result("wall", "frame_seconds_while_scrolling_95_percent", round(percentile_95(frames), 4), "s", FRAME_GOAL)
    yield of_many("wall", "frame_seconds_while_scrolling", frames, "s")
    yield of_many("wall", "seconds_to_the_end_of_a_page_with_all_pictures", complete, "s")


def _wait_for_paint(page: Page) -> float:
    handle = page.wait_for_function(PAINTED)
    found: float = handle.json_value()
    return found


def _get(client: httpx.Client, path: str) -> float:
    began = time.monotonic()
    answer = client.get(path)
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{path} answered {answer.status_code}")
    return time.monotonic() - began


@contextmanager
def _pages(system: RunningSystem, count: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Serve the pages of a ledger of that many images; yield their address, and the images."""
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        images = image_ids(count)
        with closing(Ledger(url)) as ledger:
            ledger.reports.counts()  # makes the tables
        fill_ledger(url, images)
        if count == IMAGES:  # whose pictures are looked at
            _note_pictures(url)
        with served(create_app(lambda: Ledger(url), _pictures(system.settings), system.settings)) as address:
            yield address, images


def _pictures(settings: Settings) -> Pictures:
    storage = Storage(
        s3=S3ClientFactory(), storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket
    )
    return Pictures(storage, make_image_server(settings), settings)


def _store_thumbnails(system: RunningSystem, images: Sequence[AssetId]) -> None:
    """Put the thumbnails into S3 that a wall shows, under the keys that the ledger has."""
    for image in images:
        key = thumbnail_key(image, TILE_EDGE, open_=True)
        system.s3.put_object(Bucket=system.settings.thumbs_bucket, Key=key, Body=THUMBNAIL)


def _note_pictures(url: str) -> None:
    """Have the ledger know each image's own thumbnails, where it has copies."""
    engine = make_engine(url)
    of_thumbnails = outcomes.c.stage == Stage.THUMBNAILS
    with engine.begin() as connection:
        for row in connection.execute(select(outcomes.c.image_id, outcomes.c.details).where(of_thumbnails)).all():
            held = tuple(_own(each.record, AssetId.parse(row.image_id)) for each in row.details.holdings)
            set_details(connection, row.image_id, Stage.THUMBNAILS, replace(row.details, holdings=held))
    engine.dispose()


def _own(record: ObjectRecord, image: AssetId) -> Holding:
    key = "/".join([str(image), *record.key.split("/")[3:]])
    return Holding(replace(record, key=key))
