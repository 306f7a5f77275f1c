from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_request import IngestMessage, parse_message
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.batches import BATCH_COMPLETED
from dlcs_assets_tests.cli.conftest import Aws, Desk
from dlcs_testing.command_line import dlcs
from dlcs_testing.scripted_server import refused_url

BROKEN = PermanentError("image_truncated", "The image ends early", remedy="Replace it", stage=Stage.ORIGINAL)
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pages.csv"
    lines = [f"2/7/p{number},https://example.org/p{number}.jpg,image/jpeg" for number in range(3)]
    path.write_text("\n".join(["id,origin,mediaType", *lines]))
    return path


def received(aws: Aws, url: str | None = None) -> list[IngestMessage]:
    found = []
    while bodies := aws.bodies(url or aws.ingest):
        found += [parse_message(body) for body in bodies]
    assert all(isinstance(message, IngestMessage) for message in found)
    return sorted((each for each in found if isinstance(each, IngestMessage)), key=lambda each: str(each.asset_id))


def status_of(batch: int, *more: str) -> dict[str, Any]:
    done = dlcs("batch", "status", str(batch), "--json", *more)
    assert done.exit_code == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.usefixtures("ledger")
def test_every_image_is_sent_with_the_batch_and_its_count(aws: Aws, manifest: Path) -> None:
    done = dlcs("batch", "submit", str(manifest), "--channels", "iiif-img", "--policy", "use-original")
    assert done.stdout == "Batch 1 of customer 2: 3 images submitted.\n"
    messages = received(aws)
    assert [str(message.asset_id) for message in messages] == ["2/7/p0", "2/7/p1", "2/7/p2"]
    for message in messages:
        assert message.batch is not None
        assert (message.batch.id, message.batch.count) == (1, 3)
        assert message.asset is not None
        assert message.asset.media_type == "image/jpeg"
        assert [(str(each.channel), each.policy) for each in message.asset.channels or ()] == [
            ("iiif-img", "use-original")
        ]
    assert status_of(1)["count"] == 3


@pytest.mark.usefixtures("ledger")
def test_what_a_row_says_comes_before_the_options(aws: Aws, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "origin": "https://example.org/a", "deliveryChannels": "file", "roles": ["r"]},
        {"id": "b", "origin": "https://example.org/b", "deliveryChannels": "default", "maxUnauthorised": 400},
        {"id": "c", "origin": "https://example.org/c"},
    ]
    path = tmp_path / "pages.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    options = ("--customer", "5", "--space", "6", "--id", "44", "--channels", "thumbs", "--priority")
    done = dlcs("batch", "submit", str(path), *options)
    assert done.stdout == "Batch 44 of customer 5: 3 images submitted.\n"
    first, second, third = received(aws, aws.priority)
    assert first.asset is not None
    assert second.asset is not None
    assert third.asset is not None
    assert (str(first.asset_id), first.asset.roles) == ("5/6/a", ("r",))
    assert [str(each.channel) for each in first.asset.channels or ()] == ["file"]
    assert (second.asset.channels, second.asset.max_unauthorised) == ((), 400)
    assert [str(each.channel) for each in third.asset.channels or ()] == ["thumbs"]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("dry_run", [True, False])
def test_mistakes_are_reported_by_line_and_nothing_is_sent(aws: Aws, tmp_path: Path, *, dry_run: bool) -> None:
    """All of them at once, with and without --dry-run: half a batch must not be in the queue."""
    path = tmp_path / "pages.csv"
    path.write_text("id,origin\n2/1/a,ftp://h/a\n2/1/b,\n2/1/a,https://h/a\n2/1/c,https://h/c\n")
    done = dlcs("batch", "submit", str(path), *(["--dry-run"] if dry_run else []))
    assert (done.exit_code, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines[:3]] == [f"{path}:{number}" for number in (2, 3, 4)]
    assert lines[3:] == ["3 mistakes in 3 lines: nothing is sent."]
    assert received(aws) == []
    assert dlcs("batch", "list").stdout == "There is no batch.\n"


def test_a_dry_run_shows_what_would_be_sent_and_changes_nothing(aws: Aws, manifest: Path, ledger: Ledger) -> None:
    ledger.batches.declare(2, 1, batch_id=12, now=NOW)
    done = dlcs("batch", "submit", str(manifest), "--dry-run")
    assert done.stdout.splitlines() == [
        "Batch 13 of customer 2: 3 images would be sent by the lane ingest.",
        "  2/7  3 images",
        "Nothing is wrong with the manifest; nothing was sent.",
    ]
    assert received(aws) == []
    assert [batch.id for batch in ledger.batches.newest()] == [12]


@pytest.mark.usefixtures("ledger")
def test_a_customer_that_is_not_configured_is_a_mistake(
    aws: Aws, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLCS_CUSTOMERS", "5,6")
    done = dlcs("batch", "submit", str(manifest))
    assert "pages.csv:2: customer 2 is not configured here" in done.stderr
    assert (done.exit_code, received(aws)) == (2, [])


@pytest.mark.usefixtures("ledger")
def test_impossible_options_and_missing_files_are_reported(aws: Aws, manifest: Path) -> None:
    """Wrong usage and a missing file have different exit codes, and neither sends anything."""
    done = dlcs("batch", "submit", str(manifest.with_name("nothing.csv")))
    assert (done.exit_code, "nothing.csv: No such file or directory." in done.stderr) == (1, True)
    done = dlcs("batch", "submit", str(manifest), "--policy", "nope")
    assert (done.exit_code, "none of the channels iiif-img, thumbs has a policy of" in done.stderr) == (2, True)
    assert received(aws) == []


def test_a_full_batch_is_refused_before_anything_is_sent(aws: Aws, manifest: Path, ledger: Ledger) -> None:
    """A batch that was declared with another count must not receive images that it does not count."""
    ledger.batches.declare(2, 500, batch_id=12, now=NOW)
    done = dlcs("batch", "submit", str(manifest), "--id", "12")
    assert (done.exit_code, "declared with 500 images; this manifest has 3" in done.stderr) == (1, True)
    assert received(aws) == []


@pytest.mark.usefixtures("ledger")
def test_an_interrupted_submission_says_how_to_continue(
    aws: Aws, desk: Desk, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitting the manifest again with the same id must not count an image twice that had arrived."""
    with monkeypatch.context() as broken:
        broken.setenv("AWS_ENDPOINT_URL", refused_url())
        done = dlcs("batch", "submit", str(manifest))
    assert done.exit_code == 1
    assert "Batch 1 of customer 2: 0 of 3 images were sent" in done.stderr
    assert "submit the manifest again with --id 1" in done.stderr
    desk.send("2/7/p0", batch=1)  # one of them had arrived
    again = dlcs("batch", "submit", str(manifest), "--id", "1")
    assert again.stdout == "Batch 1 of customer 2: 3 images submitted.\n"
    for message in received(aws):
        desk.send(str(message.asset_id), batch=1)
    seen = status_of(1)
    assert (seen["listed"], seen["pending"], seen["notReceived"]) == (3, 3, 0)


@pytest.mark.usefixtures("ledger")
def test_one_refused_message_of_a_manifest_holds_up_no_other(aws: Aws, manifest: Path) -> None:
    aws.sqs.set_queue_attributes(QueueUrl=aws.ingest, Attributes={"MaximumMessageSize": "1024"})
    manifest.write_text(manifest.read_text().replace("/p1.jpg", f"/{'x' * 1500}.jpg"))
    done = dlcs("batch", "submit", str(manifest))
    assert done.exit_code == 1
    assert "Batch 1 of customer 2: 2 of 3 images were sent" in done.stderr
    assert "1, such as 2/7/p1: A message of" in done.stderr
    assert [str(message.asset_id) for message in received(aws)] == ["2/7/p0", "2/7/p2"]


@pytest.fixture
def batch(desk: Desk, manifest: Path, aws: Aws) -> Desk:
    """Submit the manifest as batch 1: one of its images fails, and another has not been received yet."""
    dlcs("batch", "submit", str(manifest))
    for image in ("2/7/p0", "2/7/p1"):
        desk.send(image, batch=1)
    assert len(received(aws)) == 3
    desk.end("2/7/p0")
    desk.end("2/7/p1", BROKEN)
    return desk


@pytest.mark.usefixtures("batch")
def test_the_status_of_a_batch_balances_and_has_the_failures() -> None:
    """The numbers add up in the text and in JSON, and each failure has its reason and remedy."""
    text = dlcs("batch", "status").stdout
    assert "Batch 1 of customer 2" in text
    assert "standing      open: 1 of 3 images have not been received yet" in text
    assert "balance       2 listed = 1 done + 1 failed + 0 rejected + 0 pending" in text
    assert "count         3 images, 1 of them not received yet" in text
    assert "failures      1 failed, such as 2/7/p1: The image ends early (image_truncated). Replace it" in text
    seen = status_of(1, "--customer", "2")
    assert seen["listed"] == seen["done"] + seen["failed"] + seen["rejected"] + seen["pending"] + seen["running"] == 2
    assert (seen["completed"], seen["errors"], seen["notReceived"], seen["finished"]) == (1, 1, 1, None)
    assert seen["notification"] is None
    assert [failure["code"] for failure in seen["failures"]] == ["image_truncated"]


def test_what_is_missing_of_a_manifest_is_shown_with_the_reason(batch: Desk, manifest: Path) -> None:
    done = dlcs("batch", "missing", str(manifest), "--id", "1")
    assert done.exit_code == 1
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    assert rows == [
        ["2/7/p1", "failed", "The image ends early (image_truncated). Replace it"],
        ["2/7/p2", "not", "received"],
    ]
    shown = json.loads(dlcs("batch", "missing", str(manifest), "--id", "1", "--json").stdout)
    assert [(each["id"], each["code"]) for each in shown] == [("2/7/p1", "image_truncated"), ("2/7/p2", None)]
    dlcs("retry", "--batch", "1")
    batch.end("2/7/p1")
    batch.send("2/7/p2", batch=1)
    batch.end("2/7/p2")
    done = dlcs("batch", "missing", str(manifest), "--id", "1")
    assert (done.exit_code, done.stdout) == (0, "All 3 images are done.\n")


@pytest.mark.usefixtures("batch")
def test_an_unknown_batch_is_reported_and_nothing_is_looked_up(manifest: Path) -> None:
    assert dlcs("batch", "missing", str(manifest), "--id", "9").exit_code == 2
    done = dlcs("batch", "status", "9")
    assert (done.exit_code, done.stderr) == (1, "No customer has a batch 9: see dlcs batch list.\n")
    done = dlcs("batch", "close", "1", "--customer", "3")
    assert (done.exit_code, done.stderr) == (1, "Customer 3 has no batch 1: see dlcs batch list.\n")


def test_a_closed_batch_says_whether_it_was_published(batch: Desk, ledger: Ledger) -> None:
    """It can be closed once; a retry afterwards changes its numbers and not its notification."""
    done = dlcs("batch", "close", "1")
    assert done.stdout == (
        "Batch 1 of customer 2 is closed with 2 images: 2 listed = 1 done + 1 failed + 0 rejected + 0 pending.\n"
    )
    assert "is closed already" in dlcs("batch", "close", "1").stderr
    ledger.batches.finish_due(now=NOW)
    assert "1 completed, 1 errors of 2; not sent yet: it is about to be" in dlcs("batch", "status", "1").stdout
    assert "is finished already" in dlcs("batch", "close", "1").stderr
    (notification,) = ledger.outbox.due(BATCH_COMPLETED, now=NOW)
    ledger.outbox.mark_published(notification.id, now=NOW)
    dlcs("retry", "--batch", "1")
    batch.end("2/7/p1")
    text = dlcs("batch", "status", "1").stdout
    assert "1 completed, 1 errors of 2; sent 2026-05-04T12:00:00+00:00" in text
    assert "2 listed = 2 done + 0 failed" in text
    assert status_of(1)["standing"] == "finished"


@pytest.mark.usefixtures("batch")
def test_a_number_that_several_customers_have_needs_the_customer(ledger: Ledger) -> None:
    ledger.batches.declare(3, 7, batch_id=1, now=NOW)
    done = dlcs("batch", "status", "1")
    assert (done.exit_code, "The customers 2, 3 have a batch 1 each" in done.stderr) == (2, True)
    assert status_of(1, "--customer", "3")["count"] == 7


@pytest.mark.usefixtures("batch")
def test_batches_are_listed_with_their_numbers(ledger: Ledger) -> None:
    ledger.batches.declare(3, 0, now=NOW)
    ledger.batches.finish_due(now=NOW)
    lines = [line.split() for line in dlcs("batch", "list").stdout.splitlines()]
    assert lines[0][:3] == ["customer", "batch", "submitted"]
    assert [(row[0], row[1], row[4:]) for row in lines[1:]] == [
        ("2", "1", ["3", "1", "1", "0", "0", "0", "open"]),
        ("3", "1", ["0", "0", "0", "0", "0", "0", "finished"]),
    ]
    assert [each["customer"] for each in json.loads(dlcs("batch", "list", "--open", "--json").stdout)] == [2]
    assert [each["customer"] for each in json.loads(dlcs("batch", "list", "--customer", "3", "--json").stdout)] == [3]
    assert len(json.loads(dlcs("batch", "list", "--limit", "1", "--json").stdout)) == 1


def test_the_images_of_a_batch_include_rejected_ones(batch: Desk) -> None:
    """The list has as many lines as the numbers above it say."""
    batch.reject("{}", image="2/7/odd", batch=1)
    lines = dlcs("status", "--batch", "1").stdout.splitlines()
    assert (
        lines[0]
        == "Batch 1 of customer 2, all images have ended: 3 listed = 1 done + 1 failed + 1 rejected + 0 pending"
    )
    assert lines[1] == "3 images: 1 done, 1 failed, 1 rejected"
    shown = json.loads(dlcs("status", "--batch", "1", "--json").stdout)
    assert {each["id"]: each["state"] for each in shown} == {
        "2/7/p0": "done",
        "2/7/p1": "failed",
        "2/7/odd": "rejected",
    }
