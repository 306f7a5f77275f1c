"""What a person sees and does in Dagster's UI, in a headless browser."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect  # noqa: TID253 (the tests are written in its terms)

from dlcs_assets.domain.stages import Stage
from dlcs_testing.browser import (
    CHROMIUM,
    PATIENCE_SECONDS,
    chromium,
    metadata_value,
    new_page,
    open_lineage,
    open_partition,
)
from dlcs_testing.pictures import jpeg
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System, full_message

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium"),
]

CUSTOMER = 99
LEAF = f"{CUSTOMER}/1/leaf"
TORN = f"{CUSTOMER}/1/torn-leaf"


@pytest.fixture(scope="module")
def leaves(system: System) -> None:
    """Bring two images into the system: one that ends well and one that can't."""
    system.send(full_message(LEAF, system.upload(LEAF, jpeg(1800, 1200))))
    system.await_end([LEAF])
    torn = jpeg(1800, 1200)
    system.send(full_message(TORN, system.upload(TORN, torn[: len(torn) // 2])))
    system.await_end([TORN], state="failed")
    eventually(
        lambda: system.dagster.partitions(Stage.THUMBNAILS, f"@{TORN}"), lambda seen: seen == {f"@{TORN}": "failed"}
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, system: System, tmp_path: Path) -> Iterator[Page]:  # noqa: ARG001 (for a failure's screenshot)
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    page = new_page(browser, system.environment["DLCS_UI_URL"])
    yield page
    page.context.close()


@pytest.mark.usefixtures("leaves")
def test_the_graph_shows_the_three_assets_and_their_lineage(page: Page) -> None:
    nodes = open_lineage(page)
    assert list(nodes) == ["original", "jp2", "thumbnails"]
    lefts = []
    for node in nodes.values():
        box = node.bounding_box()
        assert box is not None
        lefts.append(box["x"])
    assert lefts == sorted(set(lefts))  # in the order of work, from left to right
    expect(page.locator("path[marker-end]")).to_have_count(len(nodes) - 1)  # an arrow from each to the next
    for upstream, stage in itertools.pairwise(Stage):
        page.goto(f"/assets/dlcs/{stage}?view=overview")
        expect(page.get_by_role("link", name=re.compile(rf"\b{upstream}$")).first).to_be_visible()


@pytest.mark.usefixtures("leaves")
def test_a_partition_shows_its_outcome_its_sizes_and_its_image(page: Page) -> None:
    open_partition(page, Stage.THUMBNAILS, f"@{LEAF}")
    expect(metadata_value(page, "outcome")).to_have_text("made")
    expect(metadata_value(page, "sizes")).to_have_text("1024 x 683, 400 x 267, 200 x 133, 100 x 67")
    metadata_value(page, "picture").get_by_text("[Show Markdown]").click()
    picture = page.locator("img[src^='data:image/jpeg;base64,']")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [100, 67]


@pytest.mark.usefixtures("leaves")
def test_thumbnails_of_one_image_are_reprocessed_from_the_ui(page: Page, system: System) -> None:
    """One run of one stage is launched, and the event shows in the history of the partition."""
    before = {stage: len(system.dagster.materializations(stage, f"@{LEAF}")) for stage in Stage}
    open_partition(page, Stage.THUMBNAILS, f"@{LEAF}")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"Launch runs to materialize .*\bthumbnails"))
    expect(dialog).to_contain_text("1 partition")
    dialog.get_by_role("button", name="Launch 1 run").click()

    after = {**before, Stage.THUMBNAILS: before[Stage.THUMBNAILS] + 1}
    eventually(lambda: {stage: len(system.dagster.materializations(stage, f"@{LEAF}")) for stage in Stage} == after)
    (run,) = eventually(lambda: system.dagster.runs(customer=str(CUSTOMER), lane="manual"))
    assert run.stages == {"thumbnails"}
    assert run.tags["dagster/partition"] == f"@{LEAF}"
    eventually(lambda: system.dagster.run(run.id).status == "SUCCESS")
    open_partition(page, Stage.THUMBNAILS, f"@{LEAF}")
    expect(page.get_by_text(f"View all historical events ({after[Stage.THUMBNAILS]})")).to_be_visible()


def test_a_filter_in_the_ui_materializes_one_space_only(page: Page, system: System) -> None:
    """Customers whose numbers end like this one's have a space of the same number."""
    mine, others = [f"2/5/leaf-{number}" for number in range(3)], ["12/5/leaf", "22/5/leaf", "2/51/leaf"]
    origin = "https://example.org/never-asked.jpg"
    nothing = [{"channel": "none"}]  # no stage does anything, and each reports that: quick
    for image in (*mine, *others):
        system.send(full_message(image, origin, nothing))
    system.await_end([*mine, *others])
    system.await_materialized("@2/5/", len(mine))

    page.goto(f"/assets/dlcs/{Stage.THUMBNAILS}?view=partitions")
    page.get_by_placeholder("Filter by name").fill(mine[0])
    page.get_by_text(f"@{mine[0]}", exact=True).first.wait_for()  # the page has its partitions by now
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog").filter(has_text="Launch runs").first  # its list is a dialog, too
    dialog.get_by_role("button", name="Custom").click()
    dialog.get_by_text("partitions selected").click()
    everything = page.get_by_text(re.compile(r"^Select all \(\d+\)$"))
    everything.click()  # all are ticked to begin with
    page.get_by_placeholder("Filter partitions").fill("@2/5/")
    expect(everything).to_have_text(f"Select all ({len(mine)})")
    everything.click()
    page.keyboard.press("Escape")
    expect(dialog).to_contain_text(f"{len(mine)} partitions")
    dialog.get_by_role("button", name="Launch").click()

    def times_made(images: Sequence[str]) -> set[int]:
        return {len(system.dagster.materializations(Stage.THUMBNAILS, f"@{image}")) for image in images}

    eventually(lambda: times_made(mine) == {2}, timeout=120)  # Dagster looks at its backfills twice a minute
    assert times_made(others) == {1}


@pytest.mark.usefixtures("leaves")
def test_a_failed_partition_is_shown_as_failed_with_its_reason(page: Page, system: System) -> None:
    """On the partition itself, and in the log of its run."""
    status = system.images(CUSTOMER)[TORN]
    assert status.error_stage is not None
    (why,) = system.dagster.observations(Stage(status.error_stage), f"@{TORN}")
    assert (why["code"], why["reason"], why["what to do"]) == (
        status.error_code,
        status.error_cause,
        status.error_remedy,
    )
    open_partition(page, Stage(status.error_stage), f"@{TORN}")
    page.get_by_text("View all historical events").click()
    page.get_by_role("row").filter(has_text="Observation").get_by_role("button").click()
    expect(page.get_by_text(str(status.error_cause)).first).to_be_visible()
    page.keyboard.press("Escape")

    open_partition(page, Stage.JP2, f"@{TORN}")
    notice = page.get_by_text("did not materialize this asset")
    expect(notice).to_be_visible()
    notice.get_by_role("link").click()

    page.wait_for_url(re.compile("/runs/"))
    page.get_by_placeholder("Filter").fill(TORN)
    reason = system.images(CUSTOMER)[TORN].reason
    assert reason is not None
    expect(page.get_by_text(f"{TORN} failed: {reason}").first).to_be_visible()
    page.get_by_placeholder("Filter").fill("images failed")
    table = page.locator("table").filter(has_text="what to do").last  # the innermost
    expect(table.get_by_role("row").last).to_contain_text(TORN)
    expect(table.get_by_role("row").last).to_contain_text(reason.split(". ")[-1])
