"""Names, reasons and addresses of strangers in every field that the pages show: no browser obeys one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Dialog  # noqa: TID253 (the test is written in its terms)

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.records import Rejection
from dlcs_assets_tests.view.conftest import Library, library_at
from dlcs_stack.stack import RunningStack
from dlcs_testing.browser import CHROMIUM, chromium, new_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

TURNED = "\u202egpj\u200b"
MARK = "planted"
# What HTML, an attribute, a script, an address and a template would obey. A name has no slash.
NAME = f"\"'><img src=x:{MARK} onerror=alert(1)><script>alert(1)<\\script>{{{{7*13717421}}}}{TURNED}"
LINKS = f'<svg/onload=alert(1)><a href="javascript:alert(1)">{MARK}</a><base href=//evil>'
TEXT = f"{NAME}</code></p></dd></td></script>{LINKS}"
# What our own script sets on its tiles is no stranger's.
HANDLERS = (
    "all => all.filter(e => !e.closest('.window.live')).flatMap(e => e.getAttributeNames())"
    ".filter(name => name.startsWith('on') || name === 'style')"
)


@pytest.fixture(scope="module")
def planted(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Make images whose every text is a stranger's: done, failed, rejected, in a batch."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with library_at(f"sqlite:///{path}", services) as library:
        done, failed = f"2/1/done {NAME}", f"2/1/failed {NAME}"
        library.send(
            done, batch=7, count=9, origin=f"https://u:p@evil.example/{TEXT}", roles=(), media_type=f"image/{TEXT}"
        )
        library.done(done, store=True, notes=[TEXT], why=TEXT, origin=f"https://evil.example/{TEXT}")
        library.send(failed, batch=7, roles=(TEXT,), origin=TEXT)
        library.failed(failed, PermanentError("odd_code", TEXT, remedy=TEXT, stage=Stage.JP2))
        library.reject(Rejection("odd_message", TEXT, TEXT), image=f"2/1/rejected {NAME}", body=TEXT)
        library.reject(Rejection("odd_body", TEXT, TEXT), body=TEXT)
        library.reprocess(done, match=TEXT)
        yield library


def pages() -> list[str]:
    images = [f"2/1/{kind} {NAME}" for kind in ("done", "failed", "rejected")]
    of_images = [f"/image?id={quote(image, safe='')}" for image in images]
    zoomed = f"/zoom?id={quote(images[0], safe='')}"
    walls = ["/", "/images?customer=2", f"/images?after={quote(images[0], safe='')}", "/images?reason=odd_code"]
    refused = [f"/images?{name}={quote(TEXT, safe='')}" for name in ("reason", "state", "customer", "after")]
    lists = ["/batches", "/batch?customer=2&batch=7", "/failures", "/customers", f"/nothing/{quote(TEXT, safe='')}"]
    lists.append("/backfills")
    return [*of_images, zoomed, *walls, *refused, f"/image?id={quote(TEXT, safe='')}", *lists]


def test_no_text_from_outside_is_obeyed_by_a_browser(planted: Library) -> None:
    """Nor hidden: what would turn other text around is written as an escape."""
    requested: list[str] = []
    obeyed: list[str] = []
    shown = 0

    def dismissed(dialog: Dialog) -> None:
        obeyed.append(dialog.message)
        dialog.dismiss()

    with chromium() as browser:
        page = new_page(browser, planted.url)
        page.on("request", lambda request: requested.append(request.url))
        page.on("dialog", dismissed)
        page.on("console", lambda message: obeyed.append(message.text) if "Content Security" in message.text else None)
        for path in pages():
            page.goto(path)
            page.wait_for_load_state("networkidle")
            text = page.inner_text("body")
            shown += MARK in text
            assert TURNED[0] not in page.content(), path
            assert "96021947" not in text, path  # what a template would make of it
            found = page.eval_on_selector_all(
                "img, script, iframe, svg, base, object", "all => all.map(each => each.src || each.outerHTML)"
            )
            assert not [each for each in found if not each.startswith(planted.url)], path
            links = page.eval_on_selector_all("a, form", "all => all.map(each => each.href || each.action)")
            assert {each.partition("://")[0] for each in links} == {"http"}, path
            assert page.eval_on_selector_all("*", HANDLERS) == [], path
        page.context.close()
    assert [each for each in requested if not each.startswith(planted.url)] == []
    assert obeyed == []
    assert shown > len(pages()) // 2  # it was there to be seen
