"""Chromium, headless, and the ways through Dagster's UI that several tests and the screenshots of the docs take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dlcs_assets.domain.stages import Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDTH, HEIGHT = 1600, 1000
PATIENCE_SECONDS = 30


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Run the browser, with these flags on top of the usual ones."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, url: str) -> Page:
    """Open a page of the size of the docs' pictures, whose addresses start at `url`."""
    context = browser.new_context(base_url=url, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    return context.new_page()


def open_lineage(page: Page) -> dict[str, Locator]:
    """Open the graph of all assets; return each asset's node by its name."""
    page.goto("/asset-groups")
    nodes = page.locator("foreignObject").filter(has_text=re.compile("partition"))
    found = {stage.value: nodes.filter(has=page.get_by_text(stage.value, exact=True)) for stage in Stage}
    for node in found.values():
        node.wait_for()
    return found


def open_partition(page: Page, stage: Stage, key: str) -> None:
    """Open the page of an asset's partitions and look one up by its name."""
    page.goto(f"/assets/dlcs/{stage}?view=partitions")
    page.get_by_placeholder("Filter by name").fill(key)
    page.get_by_text(key, exact=True).first.click()
    page.get_by_text("Latest materialization", exact=True).wait_for()


def metadata_value(page: Page, name: str) -> Locator:
    """Return the cell that shows this metadata of a partition."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=name, exact=True))
    return row.get_by_role("cell").nth(1)
