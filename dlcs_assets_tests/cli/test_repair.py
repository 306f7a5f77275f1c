"""`dlcs repair` and the check of `dlcs doctor` for what is left without an end in the DLCS, of either layout."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from dlcs_assets.cli.connection import load_settings
from dlcs_assets.cli.doctor_dlcs import check_left_in_the_dlcs
from dlcs_assets_tests.cli.conftest import NOW, Aws, Desk
from dlcs_testing.command_line import dlcs as command
from dlcs_testing.dlcs_database import Dlcs

IMAGE, OTHER = "2/1/page", "2/1/other"
LONG_AGO = "2026-01-02T03:04:05Z"


@pytest.fixture
def left(dlcs: Dlcs, aws: Aws, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Dlcs:
    """The DLCS that this installation works for, with a customer, and none of its images in progress."""
    assert desk.ledger.write_backs.in_progress([IMAGE]) == set()
    dlcs.customer(2)
    monkeypatch.setenv("DLCS_DATABASE_URL", dlcs.url)
    monkeypatch.setenv("DLCS_INGEST_QUEUE_URL", aws.ingest)
    return dlcs


def submit(dlcs: Dlcs, *images: str, submitted: str = LONG_AGO) -> int:
    for image in images:
        dlcs.image(image)
    batch = dlcs.submit(*images)
    dlcs.execute('UPDATE "Batches" SET "Submitted" = :at WHERE "Id" = :batch', {"at": submitted, "batch": batch})
    return batch


def end(dlcs: Dlcs, image: str, batch: int, status: int = 3) -> None:
    """End an image as an engine does that stops before it counts the batch."""
    values = {"image": image, "batch": batch, "status": status}
    dlcs.execute('UPDATE "Images" SET "Ingesting" = false, "Finished" = now() WHERE "Id" = :image', {"image": image})
    dlcs.execute('UPDATE "BatchAssets" SET "Status" = :status WHERE "AssetId" = :image AND "BatchId" = :batch', values)


def test_an_image_that_waits_for_no_message_is_sent_again(left: Dlcs, aws: Aws) -> None:
    """As the API would; with --dry-run it is only shown. Until it has ended nothing else changes."""
    batch = submit(left, IMAGE)
    before = left.rows(IMAGE)
    shown = f"image {IMAGE} waits since 2026-01-02 03:04 UTC, in batch {batch}\n"
    found = command("repair", "--dry-run").stdout
    assert found == f"{shown}Nothing is changed. Without --dry-run 1 images and 0 batches would be repaired.\n"
    assert aws.bodies(aws.ingest) == []
    assert command("repair").stdout == f"{shown}1 messages sent, 0 batches ended.\n"
    (body,) = map(json.loads, aws.bodies(aws.ingest))
    assert (body["id"], body["batchId"]) == ({"customer": 2, "space": 1, "asset": "page"}, batch)
    assert left.rows(IMAGE) == before


def test_an_image_by_itself_is_sent_again_without_a_batch(left: Dlcs, aws: Aws) -> None:
    """So is one that waits in a batch though the API has changed it since, and so cleared that it is ingested."""
    left.image(IMAGE, Ingesting=True)
    batch = submit(left, OTHER)
    left.execute('UPDATE "Images" SET "Ingesting" = false WHERE "Id" = :image', {"image": OTHER})
    command("repair")
    sent = [json.loads(body) for body in aws.bodies(aws.ingest)]
    assert {(each["id"]["asset"], each["batchId"]) for each in sent} == {("page", None), ("other", batch)}


@pytest.mark.usefixtures("aws")
def test_what_is_in_progress_new_or_made_elsewhere_is_left(left: Dlcs, desk: Desk) -> None:
    submit(left, IMAGE)
    desk.send(IMAGE)
    submit(left, OTHER, submitted="now()")
    left.image("2/1/film", ("iiif-av", "default-video"), Family="T", Ingesting=True)
    assert command("repair").stdout == "Nothing has waited in the DLCS for longer than 12:00:00.\n"


def test_a_batch_whose_images_have_ended_is_ended(left: Dlcs, desk: Desk) -> None:
    """Counted by those that are left, where one was deleted; and announced, once."""
    batch = submit(left, IMAGE, OTHER, "2/1/gone")
    end(left, IMAGE, batch)
    end(left, OTHER, batch, status=2)
    left.execute('DELETE FROM "Images" WHERE "Id" = \'2/1/gone\'')
    (finding,) = check_left_in_the_dlcs(load_settings())
    assert (finding.verdict, "0 images and 1 batches" in finding.found) == ("warn", True)
    for found in ("0 messages sent, 1 batches ended.", "Nothing has waited in the DLCS for longer than 12:00:00."):
        assert command("repair").stdout.endswith(f"{found}\n")
    assert left.rows(IMAGE)["Batches"] == [(1, 1, 2, True)]
    (sent,) = desk.ledger.outbox.due("batch-completed", now=NOW + timedelta(days=400))
    body = json.loads(sent.body)
    assert (body["id"], body["count"], body["completed"], body["errors"]) == (batch, 2, 1, 1)
    (finding,) = check_left_in_the_dlcs(load_settings())
    assert finding.verdict == "ok"


def test_a_batch_of_which_all_was_deleted_is_superseded(left: Dlcs) -> None:
    """As the API has it when it is asked to test one."""
    submit(left, IMAGE)
    left.execute('DELETE FROM "Images"')
    command("repair")
    assert left.execute('SELECT "Superseded", "Count" FROM "Batches"') == [(True, 0)]


@pytest.mark.usefixtures("desk")
def test_without_a_dlcs_there_is_nothing_to_repair() -> None:
    result = command("repair")
    assert (result.exit_code, "set DLCS_DATABASE_URL" in result.stderr) == (1, True)
    assert list(check_left_in_the_dlcs(load_settings())) == []
