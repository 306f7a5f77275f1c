"""The way to each answer of docs/first-hour.md, in a real browser and with the real commands, as the page has it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect  # noqa: TID253 (the tests are written in its terms)
from typer.testing import CliRunner

from dlcs_assets.cli import make_app
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import PermanentError, ServiceDownError
from dlcs_assets.domain.ingest_spec import KnownFormat, ingest_spec
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ledger.reports import Selection
from dlcs_assets.view.templating import shown_bytes
from dlcs_assets_tests.view.conftest import Library, library_at
from dlcs_stack.stack import RunningStack
from dlcs_testing.browser import CHROMIUM, chromium
from dlcs_testing.pictures import drawing, encoded

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

DOC = Path(__file__).parents[2] / "docs/first-hour.md"
PARTS = re.split(r"^## (\d+)\. (.*)\n", DOC.read_text(), flags=re.MULTILINE)
ANSWERS = dict(zip(map(int, PARTS[1::3]), PARTS[3::3], strict=True))
PAGE = "2/1/f073r"
JP2_SIZE = (600, 400)
WIDTH = "image => image.decode().then(() => image.naturalWidth)"  # of what was loaded; fails if it cannot be shown
GONE = PermanentError("origin_not_found", "It answered 404", remedy="Put it there", stage=Stage.ORIGINAL)
DOWN = ServiceDownError("image_server_down", "It does not answer", remedy="Start it")


@dataclass
class Hour:
    """A person with the page of questions, a browser and a terminal: nothing is used that the answer does not have."""

    library: Library
    page: Page
    number: int

    def said(self, text: str) -> str:
        assert text in ANSWERS[self.number], f"question {self.number} has no {text}"
        return text

    def click(self, name: str, *, within: Locator | None = None) -> None:
        self.said(f"**{name}**")
        (within or self.page).get_by_role("link", name=name).first.click()

    def fill(self, name: str, text: str, button: str) -> None:
        self.said(f"**{name}**")
        field = self.page.get_by_label(name, exact=name.islower()).first
        field.fill(text)
        self.page.locator("form").filter(has=field).get_by_role("button", name=button).click()

    def command(self, text: str, *, written: str | None = None) -> str:
        """Run a command of the answer, or one that differs from it only in a name; return what it prints."""
        self.said(text if written is None else written)
        words = shlex.split(text)
        variables = [word.partition("=") for word in words[: words.index("dlcs")]]
        environment = {name: value for name, _, value in variables}
        ran = CliRunner().invoke(make_app(), words[len(variables) + 1 :], env=environment)
        assert ran.exit_code == 0, ran.output
        return ran.output


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def hour(
    request: pytest.FixtureRequest,
    browser: Browser,
    services: RunningStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Hour]:
    """Prepare a ledger of two customers, and open its first page for the question of the test's name."""
    (number,) = re.findall(r"\d+", request.node.name)
    with library_at(f"sqlite:///{tmp_path / 'ledger.db'}", services) as library:
        for name in ("f071r", "f071v", "f072r", "f072v"):
            library.done(f"2/1/{name}", store=True)
        library.done(PAGE, store=True, width=JP2_SIZE[0], height=JP2_SIZE[1])
        library.s3.put_object(
            Bucket=library.settings.storage_bucket, Key=PAGE, Body=encoded(drawing(*JP2_SIZE), "JPEG2000")
        )
        for name in ("torn", "f074r"):
            library.send(f"2/1/{name}", batch=7, count=5, media_type="image/jpeg")
        library.failed("2/1/torn", GONE)
        library.failed("2/1/f074r", DOWN)
        library.done("12/1/other")
        for name in ("ledger_url", "storage_bucket", "thumbs_bucket", "image_server_url", "image_server_kind"):
            monkeypatch.setenv(f"DLCS_{name.upper()}", str(getattr(library.settings, name)))
        monkeypatch.chdir(tmp_path)
        context = browser.new_context(base_url=library.url, viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.goto("/")
        yield Hour(library, page, int(number))
        context.close()


def in_lane(library: Library, lane: Lane) -> dict[str, str | None]:
    """Return the stages that were asked for of the images whose newest request is in a lane."""
    found = [each.asset_id for each in library.ledger.reports.images(Selection()) if each.lane == lane]
    return {image: library.ledger.gallery.past(image)[0].stages for image in found}


def test_there_are_twelve_questions_in_order() -> None:
    assert list(ANSWERS) == list(range(1, 13))


def test_1_what_came_in_is_on_the_first_page(hour: Hour) -> None:
    hour.click("What came in")
    hour.said("*In the last hour*")
    main = hour.page.locator("main")
    expect(main).to_contain_text("In the last hour: 8 images.")
    expect(main).to_contain_text("Customer 2: 1 pending, 5 done, 1 failed.")
    expect(main.locator(".wall .name")).to_have_count(8)


def test_2_failures_have_their_reasons_and_images(hour: Hour) -> None:
    hour.click("Failures")
    failure = hour.page.locator("article.failure")
    for text in ("origin_not_found", "2/1/torn", "It answered 404", "Put it there", "dlcs retry --reason"):
        expect(failure).to_contain_text(text)
    hour.click("Show the images", within=failure)
    expect(hour.page.locator(".wall .name")).to_have_text(["2/1/torn"])
    assert "2/1/torn" in hour.command("dlcs status --state failed")


def test_3_a_page_is_found_by_its_name(hour: Hour) -> None:
    hour.fill("Find an image", "73r", "Find")
    expect(hour.page).to_have_url(re.compile(r"/image\?id=2%2F1%2Ff073r$"))
    expect(hour.page.get_by_role("heading", level=1)).to_have_text(PAGE)
    hour.fill("Find an image", "f07", "Find")
    expect(hour.page.locator(".wall .name")).to_have_count(6)


def test_4_pictures_are_seen_next_to_each_other(hour: Hour) -> None:
    hour.page.goto(f"/image?id={PAGE}")
    pictures = hour.page.locator(".pictures img")
    expect(pictures).to_have_count(1 + 3)
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        assert picture.evaluate(WIDTH) > 0
    hour.click("zoom", within=hour.page.locator("figcaption"))
    shown = hour.page.locator(".window.live img").first
    expect(shown).to_be_visible()
    assert shown.evaluate(WIDTH) > 0


def test_5_thumbnails_of_one_image_are_made_again(hour: Hour) -> None:
    hour.page.goto(f"/image?id={PAGE}")
    stage = hour.page.locator(".stages article").filter(has=hour.page.get_by_role("heading", name="thumbnails"))
    shown = stage.locator(".command").inner_text()
    hour.said("**partition**")
    expect(stage.get_by_role("link", name="partition")).to_have_attribute("href", re.compile("/assets/dlcs/thumbnails"))
    assert "1 image will be reprocessed" in hour.command(shown)
    assert in_lane(hour.library, Lane.BACKFILL) == {PAGE: "thumbnails"}


def test_6_a_customer_is_made_again_and_no_other(hour: Hour) -> None:
    hour.click("Customers")
    expect(hour.page.locator("main")).to_contain_text(hour.said("dlcs reprocess --customer 2"))
    assert "7 images would be reprocessed" in hour.command("dlcs reprocess --customer 2 --dry-run")
    assert in_lane(hour.library, Lane.BACKFILL) == {}
    hour.command("dlcs reprocess --customer 2")
    pending = hour.library.ledger.reports.images(Selection(state="pending"))
    assert len(pending) == 7
    assert {each.asset_id.split("/")[0] for each in pending} == {"2"}


def test_7_it_is_seen_how_far_that_is(hour: Hour) -> None:
    hour.number = 6
    hour.command("dlcs reprocess --customer 2")
    hour.number = 7
    for percent in (0, 14):
        hour.click("Backfills")
        row = hour.page.get_by_role("row").filter(has_text="--customer 2")
        expect(row).to_contain_text(f"{percent} %")
        assert f"  {percent} %  " in hour.command("dlcs backfills")
        hour.library.done("2/1/f071r")


def test_8_what_stops_it_is_next_to_it(hour: Hour) -> None:
    hour.number = 6
    hour.command("dlcs reprocess --customer 2")
    hour.number = 8
    hour.library.done("2/1/f071r")
    hour.click("Backfills")
    row = hour.page.get_by_role("row").filter(has_text="--customer 2")
    assert "5 images are withdrawn" in hour.command(row.locator(".command").inner_text())
    (left,) = hour.library.ledger.reports.images(Selection(state="pending"))
    assert left.asset_id == "2/1/f074r"  # which a message asked for
    hour.library.done(left.asset_id)
    hour.page.reload()
    assert "5 images are requested again" in hour.command(row.locator(".command").inner_text())


def test_9_a_batch_says_what_it_lacks(hour: Hour, tmp_path: Path) -> None:
    hour.click("Batches")
    hour.page.get_by_role("link", name="7 of customer 2").click()
    balance = hour.page.get_by_role("table")
    for name, figure in (("not received yet", "3"), ("+ failed", "1"), ("+ pending", "1")):
        row = balance.get_by_role("row").filter(has=hour.page.get_by_role("rowheader", name=name, exact=True))
        expect(row.get_by_role("cell")).to_have_text(figure)
    hour.said("*What it lacks*")
    expect(hour.page.get_by_role("region", name="What it lacks")).to_contain_text("2/1/torn: It answered 404")
    (tmp_path / "pages.csv").write_text("id,origin\n2/1/torn,https://example.org/x.jpg\n")
    missing = shlex.split(hour.said("dlcs batch missing pages.csv"))[1:]
    listed = CliRunner().invoke(make_app(), [*missing, "--id", "7"])
    assert (listed.exit_code, "2/1/torn" in listed.output) == (1, True), listed.output


def test_10_it_is_said_why_nothing_moves(hour: Hour) -> None:
    hour.library.ledger.ownership.require("an-instance", "here", now=datetime.now(UTC) - timedelta(minutes=5))
    hour.click("What came in")
    hour.said("*Nothing moves*")
    expect(hour.page.get_by_text("Nothing moves.").locator("..")).to_contain_text("start the daemon")
    hour.said("*What waits, and why*")
    waits = hour.page.get_by_role("region", name="What waits, and why")
    expect(waits).to_contain_text("1 are tried again after image_server_down, such as 2/1/f074r; the first one is due")


def test_11_bytes_of_a_customer_are_in_a_table(hour: Hour) -> None:
    hour.click("Customers")
    row = hour.page.get_by_role("row").filter(has=hour.page.get_by_role("rowheader", name="2", exact=True)).first
    bytes_ = (shown_bytes(5 * 1234), shown_bytes(5 * hour.library.thumbnail_bytes))
    for size in bytes_:
        expect(row).to_contain_text(size)
    usage = hour.command("dlcs usage --customer 2")
    assert all(size in usage for size in bytes_)


def test_12_a_policy_is_tried_on_a_copy(hour: Hour, tmp_path: Path) -> None:
    """Of two images that are up to date, the one of the policy is named; nothing is asked for."""

    def write(name: str, size: str) -> None:
        (tmp_path / name).write_text(f"customers: {{3: {{policies: {{thumbs: {{x: ['{size}']}}}}}}}}")

    write("dlcs.yaml", "!400,400")
    library, settings = (
        hour.library,
        hour.library.settings.model_copy(update={"customers_file": tmp_path / "dlcs.yaml"}),
    )
    for image, policy in (("3/1/of-x", "x"), ("3/1/other", "default")):
        library.send(image, channels=(RequestedChannel(Channel.THUMBS, policy),))
        library.done(image)
    for entry in library.ledger.registrations.entries(customer=3):
        spec = ingest_spec(
            entry.asset_id, entry.registration, ingest_policy(settings), KnownFormat.recorded(entry.results)
        )
        library.done(str(entry.asset_id), recipes=spec.recipes())
    write("copy.yaml", "!800,800")
    stale = "DLCS_CUSTOMERS_FILE=copy.yaml dlcs stale --customer {}"
    listed = hour.command(stale.format(3), written=stale.format(2))
    assert re.search(r"3/1/of-x\s+thumbnails\s.*policy", listed), listed
    assert "3/1/other" not in listed
    again = "DLCS_CUSTOMERS_FILE=copy.yaml dlcs reprocess --customer {} --stale --dry-run"
    assert "1 image would be reprocessed: 1 thumbnails" in hour.command(again.format(3), written=again.format(2))
    assert in_lane(library, Lane.BACKFILL) == {}
    assert "is stale" in hour.command("dlcs stale --customer 3", written="dlcs stale --customer")
    hour.command("dlcs plan 3/1/of-x --policy x", written="dlcs plan 2/1/f073r --policy x")
