from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.records import Chunk, new_id
from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.cli.conftest import NOW, SCHEDULE, Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.one_write import end_image


@pytest.fixture
def shop(desk: Desk) -> Desk:
    for image, code in [("2/1/a", "odd"), ("2/1/b", "odd"), ("2/2/c", "odd"), ("2/2/d", "other")]:
        desk.failed(image, PermanentError(code, "It is so", remedy="None", stage=Stage.JP2))
    desk.done("2/1/good")
    return desk


def pending(desk: Desk) -> set[str]:
    return {image.asset_id for image in desk.ledger.reports.images(Selection()) if image.state == "pending"}


@pytest.mark.parametrize(
    ("options", "chosen", "said"),
    [
        (["2/1/a"], {"2/1/a"}, "1 image will be retried, in 1 space."),
        (["2/1/good"], {"2/1/good"}, "1 image will be retried, in 1 space."),
        (["--reason", "odd"], {"2/1/a", "2/1/b", "2/2/c"}, "3 images will be retried, in 2 spaces."),
        (["--reason", "odd", "--space", "2/2"], {"2/2/c"}, "1 image will be retried, in 1 space."),
        (["--customer", "2", "--space", "1"], {"2/1/a", "2/1/b"}, "2 images will be retried, in 1 space."),
    ],
)
def test_selected_images_that_failed_are_requested_again(
    shop: Desk, options: list[str], chosen: set[str], said: str
) -> None:
    done = dlcs("retry", *options)
    assert done.stdout == said + "\n"
    assert pending(shop) == chosen


def test_a_batch_is_retried_as_a_whole(desk: Desk) -> None:
    desk.send("2/1/x", batch=7)
    due = desk.ledger.dispatch.due([Lane.INGEST], limit=10, now=datetime.now(UTC))
    (chunk,) = desk.ledger.dispatch.reserve(
        [Chunk(new_id(), Lane.INGEST, 2, 1, frozenset(STAGES), "/a", "/b", tuple(due))], NOW
    )
    claim = desk.ledger.claims.claim_chunk(chunk.id, "run", now=NOW)
    assert claim is not None
    error = PermanentError("odd", "It is so", remedy="None", stage=Stage.JP2)
    end_image(desk.ledger.results, claim, claim.items[0], error, schedule=SCHEDULE, now=NOW)
    assert dlcs("retry", "--batch", "7").stdout == "1 image will be retried, in 1 space.\n"
    assert pending(desk) == {"2/1/x"}


def test_a_second_retry_says_that_they_are_pending_already(shop: Desk) -> None:
    dlcs("retry", "--reason", "odd")
    before = pending(shop)
    done = dlcs("retry", "--space", "2/1")
    assert done.exit_code == 0
    assert done.stdout == "None of these images has failed: nothing to do. 2 are pending or running already.\n"
    assert pending(shop) == before


def test_a_retry_says_of_a_deleted_image_that_it_is_deleted(shop: Desk) -> None:
    shop.delete("2/1/good")
    done = dlcs("retry", "2/1/good")
    assert done.exit_code == 0
    assert "1 is deleted, and can be ingested only by a message that registers it again." in done.stdout
    assert pending(shop) == set()


def test_without_a_choice_nothing_is_retried(shop: Desk) -> None:
    done = dlcs("retry")
    assert done.exit_code == 2
    assert "--batch" in done.stderr
    assert pending(shop) == set()


def test_an_unknown_id_stops_the_whole_retry(shop: Desk) -> None:
    done = dlcs("retry", "2/1/a", "2/1/nothing")
    assert done.exit_code == 1
    assert "2/1/nothing" in done.stderr
    assert pending(shop) == set()
