from __future__ import annotations

import json

import pytest

from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.ingest_request import AssetFields
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import Selection
from dlcs_assets_tests.cli.conftest import NOW, Desk
from dlcs_testing.command_line import dlcs

TRUNCATED = PermanentError("image_truncated", "The image ends early", remedy="Replace it", stage=Stage.ORIGINAL)


@pytest.fixture
def four(desk: Desk) -> Desk:
    """Fill the ledger: an image of each kind, in three spaces of two customers."""
    desk.done("2/1/good")
    desk.failed("2/1/bad", TRUNCATED)
    desk.send("2/3/new", batch=12)
    desk.reject("{}", image="3/1/odd")
    return desk


@pytest.mark.usefixtures("four")
def test_counts_come_first_then_failures_with_their_reasons() -> None:
    """In a list of thousands the operator must not have to look for what went wrong."""
    lines = dlcs("status").stdout.splitlines()
    assert lines[0] == "4 images: 1 pending, 1 done, 1 failed, 1 rejected"
    assert [line.split()[:2] for line in lines[2:]] == [
        ["3/1/odd", "rejected"],
        ["2/1/bad", "failed"],
        ["2/3/new", "pending"],
        ["2/1/good", "done"],
    ]
    assert "original: The image ends early (image_truncated). Replace it" in lines[3]
    assert "3000x2000  1.3 KB  fetched, not kept; converted; made" in lines[5]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--space", "2/1"], {"2/1/good", "2/1/bad"}),
        (["--space", "1"], {"2/1/good", "2/1/bad", "3/1/odd"}),
        (["--customer", "3"], {"3/1/odd"}),
        (["--customer", "2", "--space", "3"], {"2/3/new"}),
        (["--batch", "12"], {"2/3/new"}),
        (["--state", "failed"], {"2/1/bad"}),
        (["/2/1/good/", "2/1/bad"], {"2/1/good", "2/1/bad"}),
        (["--space", "9/9"], set()),
    ],
)
def test_a_selection_gives_these_images_and_no_others(options: list[str], expected: set[str]) -> None:
    done = dlcs("status", "--json", *options)
    assert done.exit_code == 0
    assert {image["id"] for image in json.loads(done.stdout)} == expected


def test_json_has_what_the_ledger_knows_of_each_image(four: Desk) -> None:
    shown = json.loads(dlcs("status", "--json").stdout)
    assert shown == [image.to_json() for image in four.ledger.reports.images(Selection())]
    good = next(image for image in shown if image["id"] == "2/1/good")
    assert (good["state"], good["width"], good["height"]) == ("done", 3000, 2000)
    assert good["stages"] == {"original": "fetched, not kept", "jp2": "converted", "thumbnails": "made"}
    assert good["locations"] == ["s3://dlcs-storage/2/1/good"]
    assert good["thumbnails"] == ["s3://dlcs-thumbs/2/1/good/open/100.jpg"]


@pytest.mark.usefixtures("ledger")
def test_an_empty_ledger_is_not_an_error() -> None:
    assert dlcs("status").stdout == "0 images\n"
    assert json.loads(dlcs("status", "--json").stdout) == []


@pytest.mark.usefixtures("four")
def test_an_unknown_id_is_named_and_the_known_ones_are_shown() -> None:
    """The exit code is 1, and what is known is still complete and valid JSON."""
    done = dlcs("status", "--json", "2/1/good", "2/1/nothing")
    assert done.exit_code == 1
    assert done.stderr == "Not known here: 2/1/nothing.\n"
    assert len(json.loads(done.stdout)) == 1


def test_a_single_image_is_shown_whole(four: Desk) -> None:
    text = dlcs("status", "2/1/good").stdout
    for part in (
        "state         done",
        "registered    https://example.org/2/1/good.jpg?…",
        "plan          row 1: The original is fetched",
        "jp2           converted",
        "sizes: 100x67",
        "s3://dlcs-storage/2/1/good  1.2 KB  image/jp2",
        "1. 2026-05-04 12:00:00 UTC done",
    ):
        assert part in text
    assert "secret" not in text
    assert four.ledger.reports.images(Selection(ids=("2/1/good",)))[0].attempts == 1


def test_the_status_says_why_runs_wait(ledger: Ledger) -> None:
    """An operator who asks where images are sees it first; it is no part of the numbers."""
    ledger.launches.record_waiting("run-1", "ECS: Failure reason: RESOURCE:MEMORY", now=NOW)
    done = dlcs("status")
    assert "and wait in Dagster's queue (run run-1): ECS: Failure reason: RESOURCE:MEMORY" in done.stderr
    assert done.stdout == "0 images\n"
    ledger.launches.record_failed("run-1", "no", now=NOW)
    assert "1 failed in a row" in dlcs("status").stderr


@pytest.mark.usefixtures("four")
def test_a_single_failed_image_says_why_and_what_to_do() -> None:
    text = dlcs("status", "2/1/bad").stdout
    assert "The image ends early (image_truncated at the stage original)" in text
    assert "what to do    Replace it" in text
    assert "dlcs retry 2/1/bad" in text


def test_an_image_that_waits_for_its_next_attempt_says_when(desk: Desk) -> None:
    """The reason of the last attempt is shown as well."""
    desk.failed("2/1/x", TransientError("origin_unavailable", "503", remedy="Wait", stage=Stage.ORIGINAL))
    text = dlcs("status", "2/1/x").stdout
    assert "due           2026-05-04 12:01:00 UTC" in text
    assert "pending: 503 (origin_unavailable)" in text


def test_an_image_without_a_plan_is_shown_with_the_reason(desk: Desk) -> None:
    """An origin that cannot be read must not make its image invisible."""
    desk.send("2/1/x", fields=AssetFields(origin="ftp://example.org/x"))
    text = dlcs("status", "2/1/x").stdout
    assert "plan          none: The origin ftp://example.org/x is neither" in text


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    "arguments", [["2/x/y"], ["--space", "2/x"], ["--space", "x"], ["--space", "2/1", "--customer", "3"]]
)
def test_an_unreadable_argument_is_wrong_usage_in_one_line(arguments: list[str]) -> None:
    done = dlcs("status", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_attempts_are_shown_in_their_order(desk: Desk, ledger: Ledger) -> None:
    desk.failed("2/1/x", TRUNCATED)
    (image,) = ledger.reports.images(Selection(ids=("2/1/x",)))
    assert image.request_id is not None
    (attempt,) = ledger.reports.attempts(image.request_id)
    assert (attempt.number, attempt.result, attempt.error_code) == (1, "failed", "image_truncated")
    assert ledger.reports.attempts("no such request") == []


def test_a_rejected_message_does_not_reject_a_known_image(desk: Desk) -> None:
    """An image that is done stays done; only one without any request counts as rejected."""
    desk.done("2/1/good")
    desk.reject("{", image="2/1/good")
    desk.reject("{", image="2/1/unknown")
    shown = dlcs("status", "--state", "rejected").stdout
    assert shown.splitlines()[0] == "2 images: 1 done, 1 rejected"
    assert "2/1/unknown" in shown
    assert "2/1/good" not in shown
    assert desk.ledger.reports.counts()["rejected"] == 1


def test_a_space_has_no_rejected_images_of_others(desk: Desk) -> None:
    for image in ("2/1/mine", "3/1/mine", "2/11/other", "1/2/other"):
        desk.reject("not JSON", image=image)
    assert dlcs("status", "--space", "1").stdout.splitlines()[0] == "2 images: 2 rejected"
    assert dlcs("status", "--space", "3/1").stdout.splitlines()[0] == "1 image: 1 rejected"
