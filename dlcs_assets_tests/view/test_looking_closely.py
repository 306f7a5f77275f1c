"""A real JP2, of a real ingest, looked at through the real image server: with script and without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image  # noqa: TID253 (the test is about pictures)
from playwright.sync_api import Page, expect  # noqa: TID253 (the tests are written in its terms)

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.ledger import Ledger
from dlcs_assets.view.app import create_app
from dlcs_assets.view.pictures import Pictures, make_image_server
from dlcs_assets_tests.view.conftest import Library
from dlcs_stack.stack import RunningStack
from dlcs_testing.asgi_service import served
from dlcs_testing.browser import CHROMIUM, chromium
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import running_pipeline

IMAGE = "2/1/leaf"
WIDTH, HEIGHT = 3000, 2100
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")


@pytest.fixture(scope="module")
def leaf(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Ingest an image, keep its original, and serve the pages of its ledger."""
    with running_pipeline(services, tmp_path_factory.mktemp("pipeline")) as pipeline:
        origin = pipeline.serve("leaf.jpg", jpeg(WIDTH, HEIGHT))
        status = pipeline.ingest(IMAGE, origin, "iiif-img:default,thumbs:default,file:none")
        assert status.state == "done", status.reason
        kinds = {each.kind for each in status.objects}
        assert {ObjectKind.JP2, ObjectKind.ORIGINAL, ObjectKind.THUMBNAIL} <= kinds
        settings = pipeline.settings
        storage = Storage(
            s3=S3ClientFactory(), storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket
        )
        pictures = Pictures(storage, make_image_server(settings), settings)
        with served(create_app(lambda: Ledger(settings.ledger_url), pictures, settings)) as url:
            yield Library(pipeline.ledger, settings, pipeline.s3, url)


def size_of(answer: Any) -> tuple[int, int]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return Image.open(BytesIO(answer.content)).size


def test_original_jp2_and_thumbnails_are_next_to_each_other(leaf: Library) -> None:
    page = leaf.text(f"/image?id={IMAGE}")
    pictures = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', page)
    assert [alt for _, alt in pictures[:2]] == [f"original of {IMAGE}", f"jp2 of {IMAGE}"]
    assert len(pictures) == 2 + len(leaf.settings.default_thumbnail_sizes)
    for address, _ in pictures:
        width, height = size_of(leaf.get(address.replace("&amp;", "&")))
        assert abs(width / height - WIDTH / HEIGHT) < 0.02


def test_a_part_is_shown_as_large_as_it_is(leaf: Library) -> None:
    part = f"/rendering?id={IMAGE}&of=jp2&left=100&top=200&width=300&height=400&across=300&down=400"
    assert size_of(leaf.get(part)) == (300, 400)
    assert size_of(leaf.get(part.replace("left=100", "left=2900"))) == (100, 400)
    assert max(size_of(leaf.get(f"/rendering?id={IMAGE}&of=original"))) == 800


def test_the_services_of_a_manifest_have_the_picture(leaf: Library) -> None:
    (canvas,) = leaf.get("/manifest?customer=2&space=1").json()["items"]
    body = canvas["items"][0]["items"][0]["body"]
    info = httpx.get(f"{body['service'][0]['id']}/info.json", timeout=60).json()
    assert (info["type"], info["width"], info["height"]) == ("ImageService3", canvas["width"], canvas["height"])
    for each in (body, *canvas["thumbnail"]):
        assert size_of(httpx.get(each["id"], timeout=60)) == (each["width"], each["height"])


def test_without_script_links_lead_through_the_picture(leaf: Library) -> None:
    page, steps = leaf.text(f"/zoom?id={IMAGE}"), []
    for name in ("closer", "closer", "left", "up"):
        found = re.search(rf'<a href="([^"]*)" data-step="{name}"', page)
        if found is not None:
            page = leaf.text(found[1].replace("&amp;", "&"))
            steps.append(name)
    assert steps[:2] == ["closer", "closer"]
    assert "shown at 1:1" in page
    picture = re.search(r'<img src="([^"]*)"', page)
    assert picture is not None
    assert size_of(leaf.get(picture[1].replace("&amp;", "&"))) == (1200, 800)


def test_no_picture_is_offered_that_cannot_be_read(leaf: Library) -> None:
    """It shares a disk with the runs: what is in S3 it does not see."""
    settings = leaf.settings.model_copy(update={"image_server_sources": SourceAccess.DISK})
    storage = Storage(
        s3=S3ClientFactory(), storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket
    )
    pictures = Pictures(storage, make_image_server(settings), settings)
    with served(create_app(lambda: Ledger(settings.ledger_url), pictures, settings)) as url:
        other = Library(leaf.ledger, settings, leaf.s3, url)
        assert "/rendering" not in other.text(f"/image?id={IMAGE}")
        assert "/thumbnail?" in other.text(f"/image?id={IMAGE}")
        assert other.get(f"/zoom?id={IMAGE}").status_code == 404


def shown_part(page: Page) -> tuple[float, float, float]:
    """Return left and top of what is seen, in pixels of the picture, and how large a pixel of it is on the screen."""
    tile = page.locator(".window img").last
    found: dict[str, float] = tile.evaluate(
        """image => {
            const asked = new URL(image.src).searchParams, box = image.getBoundingClientRect();
            const frame = image.closest(".window").getBoundingClientRect();
            const scale = (box.width - 0.5) / Number(asked.get("width"));
            return {left: Number(asked.get("left")) - (box.left - frame.left) / scale,
                    top: Number(asked.get("top")) - (box.top - frame.top) / scale, scale};
        }"""
    )
    return found["left"], found["top"], found["scale"]


@needs_chromium
@pytest.mark.browser
def test_with_script_keys_and_dragging_move_in_the_picture(leaf: Library) -> None:
    complaints: list[str] = []
    with chromium() as browser, closing(browser.new_page(base_url=leaf.url)) as page:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
        page.goto(f"/zoom?id={IMAGE}")
        window = page.locator(".window.live")
        expect(window.locator("img").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        _, _, whole = shown_part(page)
        window.focus()
        page.keyboard.press("+")
        page.keyboard.press("+")
        page.wait_for_load_state("networkidle")
        left, top, scale = shown_part(page)
        assert scale == pytest.approx(4 * whole, rel=0.01)
        page.keyboard.press("ArrowRight")
        moved, _, _ = shown_part(page)
        assert moved > left
        box = window.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 300, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 150, steps=3)
        page.mouse.up()
        _, lower, _ = shown_part(page)
        assert lower == pytest.approx(top + 50 / scale, abs=2 / scale)
        page.get_by_role("button", name="whole").press("Enter")
        assert shown_part(page)[2] == pytest.approx(whole, rel=0.01)
        page.wait_for_load_state("networkidle")
        sizes = window.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)")
        assert sizes
        assert min(sizes) > 0
    assert complaints == []


@needs_chromium
@pytest.mark.browser
def test_axe_finds_nothing_wrong_with_pictures(leaf: Library) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with chromium() as browser:
        context = browser.new_context(base_url=leaf.url, viewport={"width": 320, "height": 700})
        page = context.new_page()
        for path in (f"/image?id={IMAGE}", f"/zoom?id={IMAGE}", f"/zoom?id={IMAGE}&level=0"):
            page.goto(path)
            found = axe.run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
        context.close()


@needs_chromium
@pytest.mark.browser
def test_what_is_under_the_pointer_stays_there(leaf: Library) -> None:
    with chromium() as browser, closing(browser.new_page(base_url=leaf.url)) as page:
        page.goto(f"/zoom?id={IMAGE}&level=1")
        box = page.locator(".window.live").bounding_box()
        assert box is not None
        at = (box["width"] * 0.6, box["height"] * 0.4)
        before = shown_part(page)
        page.mouse.move(box["x"] + at[0], box["y"] + at[1])
        page.mouse.wheel(0, -200)
        page.wait_for_load_state("networkidle")
        after = shown_part(page)
        assert after[2] > before[2]
        for axis in (0, 1):
            assert after[axis] + at[axis] / after[2] == pytest.approx(before[axis] + at[axis] / before[2], abs=8)
