"""Names, addresses and answers of strangers in every field that pages show: no browser obeys one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page  # noqa: TID253 (the test is written in its terms)

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.stages import STAGES
from dlcs_testing.browser import CHROMIUM, chromium, new_page
from dlcs_testing.http_serving import Answer, serving
from dlcs_testing.pictures import jpeg
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import IMAGE_CHANNELS, System, full_message

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

CUSTOMER = 98
TURNED = "\u202egpj\u200b"
BROWSER = "Mozilla"
BUTTON = "[Show Markdown]"
SETTLED_MILLISECONDS = 2500  # what a page requests for what it shows, it requests by then
# By asset, what a check says once it has seen what is planted.
CHECKS = (("ledger", "nothing_rejected", "Rejected messages"), ("original", "original_is_intact", "did not pass"))


@dataclass
class Stranger:
    """A server of origins that answers with payloads, and notes what browsers request of it."""

    url: str = ""
    visits: list[str] = field(default_factory=list)

    def marks(self, name: str) -> str:
        """Return what Markdown, HTML and a page's script would obey."""
        there = f"{self.url}/seen/{name}"
        return f"![x]({there})<img src={there}-html>[l](javascript:alert(1))<script>alert(1)</script>"

    def name(self, what: str) -> str:
        """Return the same as an image's name, which has no slash: Markdown reads entities, browsers backslashes."""
        there = f"{self.url}/seen/{what}".replace("http://", "http:&#47;&#47;").replace("/", "&#47;")
        back = f"{self.url}/seen/{what}-html".replace("/", "\\")
        return f"![x]({there})<img src={back}>|{TURNED}"

    def answer(self, _method: str, path: str, headers: dict[str, str], _body: bytes) -> Answer:
        if BROWSER in headers.get("user-agent", ""):
            self.visits.append(path)
        if path.startswith("/good"):
            return Answer(200, jpeg(900, 600), {"Content-Type": f"image/jpeg; {self.marks('type')}"})
        return Answer(200, self.marks("page").encode(), {"Content-Type": f"text/html; {self.marks('kind')}"})


@dataclass(frozen=True)
class Planted:
    """Where the payloads are: images that are done, failed, and deleted."""

    stranger: Stranger
    done: str
    failed: str
    deleted: str


@pytest.fixture(scope="module")
def planted(system: System) -> Iterator[Planted]:
    stranger = Stranger()
    with serving(stranger.answer) as url:
        stranger.url = url
        done, failed, gone = (f"{CUSTOMER}/1/{stranger.name(name)}" for name in ("done", "failed", "gone"))
        good = f"{url}/good/{stranger.marks('origin')}{TURNED}"
        channel = {"channel": stranger.marks("channel"), "policy": stranger.marks("policy")}
        policy = {**IMAGE_CHANNELS[0], "policy": stranger.marks("policy")}
        system.send(
            full_message(done, good, roles=[stranger.marks("role")]),
            full_message(failed, f"{url}/page/{stranger.marks('origin')}"),
            full_message(gone, good),
            full_message(f"{CUSTOMER}/1/unused", good, [channel]),
            full_message(f"{CUSTOMER}/1/unused-either", good, [policy]),
            full_message(f"{CUSTOMER}/{stranger.marks('id')}", good),
            {stranger.marks("field"): 1},
        )
        bucket = system.environment["DLCS_ORIGIN_BUCKET"]
        system.s3.put_object(Bucket=bucket, Key=f"{CUSTOMER}/{stranger.marks('key')}", Body=b"x")
        system.await_end([done, gone])
        system.await_end([failed], state="failed")
        dlcs = Path(sys.executable).with_name("dlcs")
        subprocess.run([dlcs, "delete", "--yes", gone], env={**os.environ, **system.environment}, check=True)
        system.await_end([gone], state="deleted")
        yield Planted(stranger, done, failed, gone)


def open_check(page: Page, system: System, asset: str, check: str, says: str) -> None:
    """Open the page of a check's evaluations once it says so: the sensor looks once a minute."""
    # Not the page again and again: each time a browser draws it costs more than all else that waits.
    eventually(lambda: str(system.dagster.check(asset, check)), lambda seen: says in seen, timeout=150)
    page.goto(f"/assets/dlcs/{asset}?view=checks&checkDetail={check}")
    page.get_by_text(says).first.wait_for()


def look_through(page: Page) -> str:
    """Open what is behind buttons, where no more than a picture should be; return all that there is to read."""
    page.wait_for_timeout(SETTLED_MILLISECONDS)
    for button in page.get_by_text(BUTTON, exact=True).all()[:2]:
        button.click()
        page.wait_for_timeout(500)
        page.keyboard.press("Escape")
    return page.inner_text("body")


def pages(system: System, planted: Planted) -> Sequence[str]:
    """Return the addresses of the pages that show something of the images."""
    keys = [partition_key(AssetId.parse(each)) for each in (planted.done, planted.failed)]
    of_partitions = [
        f"/assets/dlcs/{stage}?{urlencode({'view': 'partitions', 'partition': key}, quote_via=quote)}"
        for stage in STAGES
        for key in keys
    ]
    of_runs = [f"/runs/{run.id}" for run in system.dagster.runs(customer=str(CUSTOMER))[:2]]
    assert of_runs
    sensors = [f"/locations/__repository__@dlcs-assets/sensors/{name}" for name in ("sqs_ingest", "s3_uploads")]
    return [*of_partitions, *of_runs, *sensors, "/runs", "/assets"]


def test_nothing_foreign_is_requested_and_no_script_runs(planted: Planted, system: System) -> None:
    """The checks' descriptions, too, are Markdown to Dagster."""
    ui = system.environment["DLCS_UI_URL"]
    requested: list[str] = []
    dialogs: list[str] = []
    texts: list[str] = []
    with chromium() as browser:
        page = new_page(browser, ui)
        page.on("request", lambda request: requested.append(request.url))
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        for address in [*pages(system, planted), *CHECKS]:
            if isinstance(address, str):
                page.goto(address)
            else:
                open_check(page, system, *address)
            texts.append(look_through(page))
            assert TURNED[0] not in texts[-1], address
            sources = page.eval_on_selector_all("img, iframe, script", "found => found.map(each => each.src)")
            assert not [each for each in sources if planted.stranger.url in each], address
            links = page.eval_on_selector_all("a", "found => found.map(each => each.href)")
            assert not [each for each in links if each.startswith("javascript:")], address
    foreign = [each for each in requested if not each.startswith((ui, "data:", "blob:"))]
    for column in ("what to do", "for instance"):  # the tables of runs and checks were there to be seen
        assert any(column in text for text in texts), column
    assert (foreign, planted.stranger.visits, dialogs) == ([], [], [])
