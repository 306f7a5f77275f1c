from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.records import Chunk, new_id
from dlcs_assets_tests.cli.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.one_write import end_image

TORN = PermanentError("torn", "It is torn", remedy="Send a whole one", stage=Stage.JP2)


@pytest.fixture
def shop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Images of two customers that are done, and no Dagster instance."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for image in ("2/1/a", "2/1/b", "2/2/c", "12/1/d"):
        desk.done(image)
    return desk


def run(desk: Desk, *ends: PermanentError | None) -> None:
    """Have a run end as many images of the lane of backfills as there are ends."""
    now = datetime.now(UTC)
    due = desk.ledger.dispatch.due([Lane.BACKFILL], limit=len(ends), now=now)
    planned = Chunk(new_id(), Lane.BACKFILL, 2, 1, frozenset(STAGES), "/a", "/b", tuple(due))
    (chunk,) = desk.ledger.dispatch.reserve([planned], now)
    claim = desk.ledger.claims.claim_chunk(chunk.id, chunk.id, now=now)
    assert claim is not None
    for item, error in zip(claim.items, ends, strict=True):
        end_image(desk.ledger.results, claim, item, error, schedule=SCHEDULE, now=now)


def pending(desk: Desk) -> set[str]:
    due = desk.ledger.dispatch.due([Lane.BACKFILL], limit=100, now=datetime.now(UTC))
    return {str(image.asset_id) for image in due}


def words(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def test_reprocess_names_its_backfill_and_what_stops_it(shop: Desk) -> None:
    done = dlcs("reprocess", "--customer", "2", "--stage", "thumbnails")
    assert done.stdout.startswith("3 images will be reprocessed, as backfill 1: 3 thumbnails.")
    assert done.stdout.endswith("How far it is: dlcs backfills show 1. To stop it: dlcs backfills cancel 1\n")
    found = shop.ledger.backfills.find(1)
    assert found is not None
    assert (found.selection, found.images) == ("--customer 2 --stage thumbnails", 3)
    assert "@" in found.asked_by


@pytest.mark.parametrize(
    ("options", "selection", "chosen"),
    [
        (["--space", "2/1"], "--customer 2 --space 1", {"2/1/a", "2/1/b"}),
        (["--customer", "12"], "--customer 12", {"12/1/d"}),
        (["--every-customer"], "--every-customer", {"2/1/a", "2/1/b", "2/2/c", "12/1/d"}),
        (["--match", "[ad]"], "--every-customer --match '[ad]'", {"2/1/a", "12/1/d"}),
    ],
)
def test_a_backfill_is_of_a_space_a_customer_or_everyone(
    shop: Desk, options: list[str], selection: str, chosen: set[str]
) -> None:
    assert dlcs("reprocess", *options).exit_code == 0
    found = shop.ledger.backfills.find(1)
    assert found is not None
    assert (found.selection, pending(shop)) == (selection, chosen)


def test_a_customer_and_every_customer_contradict_each_other(shop: Desk) -> None:
    done = dlcs("reprocess", "--space", "2/1", "--every-customer")
    assert (done.exit_code, pending(shop)) == (2, set())
    assert done.stderr == "--every-customer and customer 2: choose one of them.\n"


def test_nothing_selected_is_no_backfill(shop: Desk) -> None:
    assert dlcs("reprocess", "--space", "2/7").stdout == "No images match: nothing to do.\n"
    assert shop.ledger.backfills.newest() == []
    assert dlcs("backfills").stdout == "There is no backfill.\n"


def test_backfills_are_listed_with_progress_and_time_left(shop: Desk) -> None:
    dlcs("reprocess", "--customer", "2")
    run(shop, None, TORN)
    dlcs("reprocess", "--customer", "12")
    first, newer, older = dlcs("backfills").stdout.splitlines()
    assert words(first)[:4] == ["backfill", "begun", "images", "ended"]
    assert words(newer)[2:7] == ["1", "0 %", "0", "0", "0"]
    assert words(newer)[-1] == "in progress: --customer 12"
    assert words(older)[2:7] == ["3", "66 %", "1", "1", "0"]
    assert words(older)[-2:] == ["1 min", "in progress: --customer 2"]
    (seen,) = [each for each in json.loads(dlcs("backfills", "--json").stdout) if each["id"] == 1]
    assert (seen["by"], seen["percent"], seen["failed"], seen["pending"]) == ("dlcs", 66, 1, 1)
    assert seen["perMinute"] > 0
    assert seen["secondsLeft"] is not None


def test_those_that_have_ended_can_be_left_out(shop: Desk) -> None:
    dlcs("reprocess", "--customer", "12")
    run(shop, None)
    shop.ledger.backfills.settle(now=NOW)
    assert "finished: --customer 12" in dlcs("backfills").stdout
    assert dlcs("backfills", "--open").stdout == "There is no backfill.\n"


def test_one_is_shown_with_why_its_images_failed(shop: Desk) -> None:
    dlcs("reprocess", "--space", "2/1")
    run(shop, None, TORN)
    shown = dlcs("backfills", "show", "1").stdout
    assert "2 images = 1 done + 1 failed + 0 pending" in shown
    assert "1 torn, such as 2/1/b: It is torn. Send a whole one" in shown
    assert "again         dlcs backfills resume 1" in shown
    assert json.loads(dlcs("backfills", "show", "1", "--json").stdout)["failures"][0]["example"] == "2/1/b"


def test_a_backfill_is_cancelled_and_resumed(shop: Desk) -> None:
    """What is done stays done, and nothing of it is asked for again."""
    dlcs("reprocess", "--customer", "2")
    run(shop, None)
    cancelled = dlcs("backfills", "cancel", "1")
    assert cancelled.stdout.startswith("Backfill 1 is cancelled: 2 images are withdrawn. 3 images = 1 done")
    assert pending(shop) == set()
    assert set(shop.ledger.reports.counts().items()) >= {("done", 4), ("cancelled", 0), ("failed", 0)}
    resumed = dlcs("backfills", "resume", "1")
    assert resumed.stdout.startswith(
        "2 images are requested again. Backfill 1: 3 images = 1 done + 0 failed + 2 pending"
    )
    assert pending(shop) == {"2/1/b", "2/2/c"}


def test_one_that_was_interrupted_is_resumed_with_the_rest(shop: Desk) -> None:
    """The process that wrote its requests died: what was selected is selected again, each image once."""
    number = shop.ledger.backfills.begin({"customer": 2, "stage": "jp2"}, asked_by="a test", now=NOW)
    shop.ledger.backfills.request(number, [(AssetId(2, 1, "a"), frozenset(STAGES))], now=NOW)
    run(shop, None)
    assert dlcs("backfills", "resume", "1").stdout.startswith("2 images are requested again.")
    due = shop.ledger.dispatch.due([Lane.BACKFILL], limit=9, now=datetime.now(UTC))
    assert {str(each.asset_id): each.stages for each in due} == dict.fromkeys(
        ("2/1/b", "2/2/c"), frozenset({Stage.JP2, Stage.THUMBNAILS})
    )
    found = shop.ledger.backfills.find(1)
    assert found is not None
    assert (found.images, found.standing) == (3, "in progress")


def test_what_cannot_be_cancelled_is_said(shop: Desk) -> None:
    unknown = dlcs("backfills", "cancel", "7")
    assert (unknown.exit_code, unknown.stderr) == (1, "There is no backfill 7: see dlcs backfills.\n")
    dlcs("reprocess", "--customer", "12")
    run(shop, None)
    shop.ledger.backfills.settle(now=NOW)
    ended = dlcs("backfills", "cancel", "1")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr == "Backfill 1 has ended already: 1 image = 1 done + 0 failed + 0 pending.\n"
