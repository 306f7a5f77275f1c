"""`dlcs ledger rebuild` and `compare`, as an operator types them. The rest is in dlcs_assets_tests/recovery."""

from __future__ import annotations

import json

import pytest

from dlcs_assets_tests.cli.conftest import Aws, Desk
from dlcs_testing.command_line import dlcs


@pytest.fixture
def buckets(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Two buckets with two images: one as it should be, and one of which s.json names what is not there."""
    storage, thumbs = aws.bucket.replace("origin", "storage"), aws.bucket.replace("origin", "thumbs")
    for name, bucket in (("DLCS_STORAGE_BUCKET", storage), ("DLCS_THUMBS_BUCKET", thumbs)):
        aws.s3.create_bucket(Bucket=bucket)
        monkeypatch.setenv(name, bucket)
    sizes = {"2/1/a": b'{"o":[[100,67]],"a":[]}', "2/7/b": b'{"o":[[400,267],[100,67]],"a":[]}'}
    for image, text in sizes.items():
        put(aws, storage, image, b"a JP2")
        put(aws, thumbs, f"{image}/open/100.jpg", b"a thumbnail")
        put(aws, thumbs, f"{image}/s.json", text)
    return aws


def put(aws: Aws, bucket: str, key: str, data: bytes) -> None:
    aws.s3.put_object(Bucket=bucket, Key=key, Body=data)


def test_a_rebuild_is_reported_first_and_then_done(desk: Desk, buckets: Aws) -> None:
    put(buckets, buckets.bucket.replace("origin", "thumbs"), "2/1/a/low.jpg", b"x")
    done = dlcs("ledger", "rebuild")
    assert done.exit_code == 0
    assert "2 images would be added: 2 done." in done.stdout
    assert "Not known of 2 images: origin." in done.stdout
    assert "are under no key of this system, and were passed over, such as s3://" in done.stdout
    assert "Nothing was written. With --yes" in done.stdout
    assert desk.ledger.rebuilding.is_empty()
    done = dlcs("ledger", "rebuild", "--yes")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "2/7/b: failed: Found when the ledger was rebuilt: s.json names thumbnails that are missing: 400",
    )
    assert "2 images added: 1 done, 1 failed." in done.stdout
    status = json.loads(dlcs("status", "--json").stdout)
    assert {each["id"]: each["state"] for each in status} == {"2/1/a": "done", "2/7/b": "failed"}
    assert "origin not known" in dlcs("status", "2/1/a").stdout


def test_a_ledger_that_is_not_empty_is_refused(desk: Desk, buckets: Aws) -> None:
    """Unless it is said which images to fill in; and a second time there is nothing to do."""
    assert buckets
    desk.send("2/1/a")
    refused = dlcs("ledger", "rebuild", "--yes")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("The ledger is not empty. To fill in what it lacks, say which images: --missing")
    lines = dlcs("ledger", "rebuild", "--missing", "--yes", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["2/7/b"]
    assert "0 images added" in dlcs("ledger", "rebuild", "--space", "2/7", "--yes").stdout


def test_what_was_found_is_not_made_again_without_its_origin(desk: Desk, buckets: Aws) -> None:
    """It is stale, is said to be, and stays as it is: reprocessing would only fail."""
    assert desk
    assert buckets
    dlcs("ledger", "rebuild", "--yes")
    stale = dlcs("stale")
    assert stale.stdout.splitlines()[-1] == "2 could not be checked: origin_unknown. See: dlcs plan ID"
    again = dlcs("reprocess", "--stale")
    assert again.stdout.splitlines()[-1] == "2 skipped, which can't be ingested today: origin_unknown"
    plan = dlcs("plan", "2/1/a")
    assert plan.exit_code == 1
    assert "(origin_unknown). Send a full message, with asset.origin" in plan.stderr


def test_disagreements_are_shown_by_space_and_repaired(desk: Desk, buckets: Aws) -> None:
    dlcs("ledger", "rebuild", "--yes")
    agree = dlcs("ledger", "compare", "--space", "2/1")
    assert (agree.exit_code, agree.stdout) == (
        0,
        "customer  space  images  objects\n2         1      1       3\nLedger and S3 agree.\n",
    )
    put(buckets, buckets.bucket.replace("origin", "thumbs"), "2/1/new/open/100.jpg", b"x")
    found = dlcs("ledger", "compare")
    assert found.exit_code == 1
    assert "customer  space  images  objects  unknown-image  sizes" in found.stdout
    assert "sizes: an s.json that does not say which thumbnails there are." in found.stdout
    lines = [json.loads(line) for line in dlcs("ledger", "compare", "--json").stdout.splitlines()]
    assert [line["key"] for line in lines if "key" in line] == ["2/7/b/s.json", "2/1/new/open/100.jpg"]
    assert [(line["space"], line["unknown-image"]) for line in lines if "key" not in line] == [(1, 1), (7, 0)]
    dry = dlcs("ledger", "compare", "--repair", "unknown-image")
    assert "1 unknown-image would be repaired.\nNothing was changed: add --yes." in dry.stdout
    assert desk.ledger.rebuilding.known(["2/1/new"]) == set()
    done = dlcs("ledger", "compare", "--repair", "unknown-image", "--repair", "sizes", "--yes")
    assert "1 unknown-image repaired." in done.stdout
    assert "1 image skipped: its origin is not known: send a full message." in done.stdout
    assert done.exit_code == 1
    assert desk.ledger.rebuilding.known(["2/1/new"]) == {"2/1/new"}


def test_a_repair_has_to_be_named(desk: Desk, buckets: Aws) -> None:
    assert desk
    assert buckets
    assert dlcs("ledger", "compare", "--yes").exit_code == 2
    assert dlcs("ledger", "compare", "--repair", "everything").exit_code == 2


def test_names_of_objects_are_shown_as_text(desk: Desk, buckets: Aws) -> None:
    """Keys are chosen by others: nothing of them reaches the terminal as a command."""
    assert desk
    put(buckets, buckets.bucket.replace("origin", "storage"), "2/1/\x1b[31mred", b"x")
    done = dlcs("ledger", "rebuild")
    assert "\x1b" not in done.stdout
    assert "red" in done.stdout


def test_a_database_that_does_not_answer_is_said(desk: Desk, buckets: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    assert buckets
    monkeypatch.setenv("DLCS_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x")
    done = dlcs("ledger", "rebuild", "--yes")
    assert done.exit_code == 1
    assert "(dlcs_database_unavailable). Check DLCS_DATABASE_URL" in done.stderr
    assert "secret" not in done.stderr
    assert desk.ledger.rebuilding.is_empty()
