"""The pages for a keyboard and a screen reader, narrow and wide, light and dark: by axe-core, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page  # noqa: TID253 (the tests are written in its terms)

from dlcs_assets_tests.view.conftest import Library, library_at
from dlcs_stack.stack import RunningStack
from dlcs_testing.browser import CHROMIUM, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

PATHS = (
    "/",
    "/images",
    "/images?customer=2&state=failed",
    "/find?name=page-0",
    "/image?id=2/1/page-01",
    "/image?id=2/1/torn",
    "/image?id=2/1/withdrawn",
    "/images?state=cancelled",
    "/batches",
    "/batch?customer=2&batch=7",
    "/backfills",
    "/failures",
    "/customers",
    "/numbers",
    "/nothing",
)
NARROW, WIDE = 320, 1400


@pytest.fixture(scope="module")
def filled(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with library_at(f"sqlite:///{path}", services) as library:
        for number in range(30):
            image = f"2/1/page-{number:02}"
            library.send(image, batch=7, count=40)
            library.done(image, store=number < 3)
        library.failed("2/1/torn")
        library.send("2/2/pending")
        library.reprocess("2/1/page-29", match="page-*")
        library.send("2/1/withdrawn", batch=7)
        library.cancelled("2/1/withdrawn")
        yield library


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def opened(browser: Browser, library: Library, width: int, scheme: Literal["light", "dark"] = "light") -> Page:
    context = browser.new_context(base_url=library.url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    return context.new_page()


def complaints(axe: Any, page: Page) -> list[tuple[str, Any]]:
    """Return what axe-core finds wrong, with the first element of each."""
    found = axe.run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(browser: Browser, filled: Library, scheme: Literal["light", "dark"]) -> None:
    """Names, roles, order of headings, contrast, labels, landmarks: by its rules of WCAG and of good practice."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for width in (NARROW, WIDE):
        with closing(opened(browser, filled, width, scheme)) as page:
            for path in PATHS:
                page.goto(path)
                page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
                assert complaints(axe, page) == [], (path, width)


def test_axe_is_not_kept_from_looking(browser: Browser, filled: Library) -> None:
    """What a page may not load does not keep it from being examined: a picture without a text is found."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with closing(opened(browser, filled, WIDE)) as page:
        page.goto("/images")
        page.eval_on_selector("main", "main => main.append(document.createElement('img'))")
        assert [name for name, _ in complaints(axe, page)] == ["image-alt"]


def test_a_narrow_window_is_not_scrolled_sideways(browser: Browser, filled: Library) -> None:
    """Tables scroll by themselves, within the page."""
    with closing(opened(browser, filled, NARROW)) as page:
        for path in PATHS:
            page.goto(path)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= NARROW, path


def test_everything_is_reached_by_the_keyboard(browser: Browser, filled: Library) -> None:
    """First a way past the links that all pages have; each place that is reached shows that it is."""
    with closing(opened(browser, filled, WIDE)) as page:
        page.goto("/images?customer=2")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        page.keyboard.press("Enter")
        assert page.url.endswith("#content")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "customer"
        for _ in range(30):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline not in {"none", ""}
            page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.closest('.wall') !== null")
        assert focused
        page.keyboard.press("Enter")
        page.wait_for_url("**/image?id=*")
