"""The pictures of the docs, taken of a system in which the samples of `dlcs demo` are done.

python -m dlcs_assets_tests.e2e.screenshot --ui http://127.0.0.1:3000 --view http://127.0.0.1:3001 \\
    --image 2/3/f012v --list @2/3/
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dlcs_assets.domain.stages import Stage
from dlcs_testing.browser import HEIGHT, WIDTH, chromium, metadata_value, new_page, open_lineage, open_partition

if TYPE_CHECKING:
    from PIL.Image import Image
    from playwright.sync_api import Browser, Page

MARGIN = 40  # pixels around the graph
MARGIN_ABOVE = 4  # another asset is there
LINE = (222, 222, 226)
COLOURS = 200  # of a picture of pictures: a third of its size, and hardly another to the eye


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(prog="python -m dlcs_assets_tests.e2e.screenshot", description=__doc__)
    parser.add_argument("--ui", required=True, help="URL of Dagster's UI")
    parser.add_argument("--view", required=True, help="URL of the pages of dlcs view")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder of the pictures")
    parser.add_argument("--image", required=True, help="an image that is done, customer/space/asset")
    parser.add_argument("--list", required=True, help="what to type into the filter of the list of partitions")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        page = new_page(browser, arguments.ui)
        lineage, partition = _lineage(page), _partition(page, f"@{arguments.image}", arguments.list)
        _above(lineage, partition).save(arguments.out / "ui.png", optimize=True)
        _picture(page).save(arguments.out / "picture.png", optimize=True)
        _materialize(page, f"@{arguments.image}").save(arguments.out / "materialize.png", optimize=True)
        _wall(browser, arguments.view).quantize(COLOURS).save(arguments.out / "images.png", optimize=True)


def _lineage(page: Page) -> Image:
    """Return the part of the lineage page that shows the three assets."""
    boxes = [box for node in open_lineage(page).values() if (box := node.bounding_box())]
    page.wait_for_load_state("networkidle")
    screen = _screen(page)
    top = min(box["y"] for box in boxes) - MARGIN_ABOVE
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    left = min(box["x"] for box in boxes) - MARGIN
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    return screen.crop((round(left), round(top), round(right), round(bottom)))


def _partition(page: Page, key: str, listed: str) -> Image:
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT + 200})  # to the last row of its metadata
    open_partition(page, Stage.THUMBNAILS, key)
    page.get_by_text("[Show Markdown]").wait_for()
    page.get_by_placeholder("Filter by name").fill(listed)
    page.wait_for_load_state("networkidle")
    title = page.get_by_role("link", name="Assets").last.bounding_box()
    last = metadata_value(page, "request").bounding_box()
    assert title is not None
    assert last is not None
    return _screen(page).crop((round(title["x"]) - 24, 0, WIDTH, round(last["y"] + last["height"]) + 24))


def _wall(browser: Browser, view: str) -> Image:
    page = new_page(browser, view)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("/images?customer=2")
    page.wait_for_load_state("networkidle")
    return _screen(page)


def _picture(page: Page) -> Image:
    page.get_by_text("[Show Markdown]").click()
    return _dialog(page)


def _materialize(page: Page, key: str) -> Image:
    open_partition(page, Stage.THUMBNAILS, key)
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="Launch 1 run").wait_for()
    return _dialog(page)


def _dialog(page: Page) -> Image:
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    page.wait_for_load_state("networkidle")
    return _opened(dialog.screenshot(animations="disabled"))


def _screen(page: Page) -> Image:
    return _opened(page.screenshot(animations="disabled"))


def _opened(png: bytes) -> Image:
    from PIL import Image

    return Image.open(BytesIO(png)).convert("RGB")


def _above(upper: Image, lower: Image) -> Image:
    """Put one picture above the other, the upper one scaled to the same width."""
    from PIL import Image

    scaled = upper.resize((lower.width, upper.height * lower.width // upper.width), Image.Resampling.LANCZOS)
    both = Image.new("RGB", (lower.width, scaled.height + 1 + lower.height), LINE)
    both.paste(scaled, (0, 0))
    both.paste(lower, (0, scaled.height + 1))
    return both


if __name__ == "__main__":
    main()
