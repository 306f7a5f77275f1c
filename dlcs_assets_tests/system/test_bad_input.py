"""Bad messages are kept with their reason and hold nothing up; bad originals fail with stage, cause and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.scripted_server import Answer

GOOD_URL = "https://example.org/page.jpg"
BAD_MESSAGES: list[tuple[str, str]] = [
    ("not_json", "{this is not JSON"),
    ("not_an_object", "[1, 2, 3]"),
    ("unknown_form", json.dumps({"hello": "world"})),
    ("legacy_form", json.dumps({"_type": "event", "message": "event::image-ingest"})),
    ("asset_id_malformed", json.dumps(full_message("2/1", GOOD_URL, "file"))),
    ("asset_id_malformed", json.dumps(full_message("two/1/page", GOOD_URL, "file"))),
    ("asset_id_too_long", json.dumps(full_message("2/1/" + "x" * 300, GOOD_URL, "file"))),
    ("unknown_channel", json.dumps(full_message("2/1/a", GOOD_URL, "iiif-hologram"))),
    ("unknown_policy", json.dumps(full_message("2/1/b", GOOD_URL, "iiif-img:use-magic"))),
    ("iiif_av_not_supported", json.dumps(full_message("2/1/c", GOOD_URL, "iiif-av:default-video"))),
    ("origin_missing", json.dumps({"asset": {"id": "2/1/d"}})),
    ("origin_scheme_not_supported", json.dumps(full_message("2/1/e", "ftp://example.org/page.jpg", "file"))),
    ("origin_not_allowed", json.dumps(full_message("2/1/f", "s3://another-systems/page.jpg", "file"))),
]

CUT_OFF_TIFF = encoded(drawing(300, 200), "TIFF")[:900]
TO_ITSELF = {"status": 302, "headers": (("Location", "/redirects"),)}
BAD_ORIGINALS: list[tuple[str, str, str, dict[str, Any]]] = [
    # name, stage and code, channels, what the origin answers
    ("missing", "original origin_not_found", "iiif-img:default", {"status": 404}),
    ("gone", "original origin_not_found", "iiif-img:default", {"status": 410}),
    ("forbidden", "original origin_refused", "iiif-img:default", {"status": 403}),
    ("empty", "original origin_empty", "iiif-img:default", {"body": b""}),
    ("html", "original not_an_image", "iiif-img:default", {"body": b"<!DOCTYPE html><title>Login</title>"}),
    ("text.jpg", "original not_an_image", "iiif-img:default", {"body": b"A text that is named .jpg.\n"}),
    ("pdf", "original not_an_image", "iiif-img:default", {"body": b"%PDF-1.7\n1 0 obj\n"}),
    ("pdf-thumbs", "original not_an_image", "thumbs:default", {"body": b"%PDF-1.7\n1 0 obj\n"}),
    ("truncated.jpg", "original image_unreadable", "iiif-img:default", {"body": jpeg(300, 200)[:-3000]}),
    (
        "truncated.tif",
        "original image_unreadable",
        "iiif-img:use-original",
        {"body": CUT_OFF_TIFF},
    ),
    ("too-large", "original too_many_pixels", "iiif-img:default", {"body": jpeg(640, 480)}),
    (
        "redirects",
        "original origin_redirects",
        "iiif-img:default",
        {"status": 302, "headers": (("Location", "/redirects"),)},
    ),
    ("breaks-off", "original origin_broke_off", "iiif-img:default", {"body": jpeg(300, 200), "fault": "break off"}),
    ("hangs", "original origin_timeout", "iiif-img:default", {"fault": "hang"}),
]
GOOD_ORIGINALS: list[tuple[str, bytes]] = [
    ("a.gif", encoded(drawing(120, 90), "GIF")),
    ("one-pixel.png", encoded(drawing(1, 1), "PNG")),
    ("a-picture-named.txt", jpeg(120, 90)),
]


@pytest.fixture(scope="module")
def fed(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Feed everything bad, with a good message after each bad one, and let the system settle."""
    with running_system(
        services, tmp_path_factory.mktemp("bad"), max_pixels=300 * 200, attempts=1, origin_timeout="PT0.5S"
    ) as system:
        good = full_message("2/2/good", system.serve("good.jpg", jpeg(120, 90)), "file")
        for _, body in BAD_MESSAGES:
            system.send(body, good)
        for name, _, channels, answer in BAD_ORIGINALS:
            system.origin.by_path[f"/{name}"] = Answer(**answer)
            system.send(full_message(f"2/3/{name}", f"{system.origin.url}/{name}", channels))
        for name, data in GOOD_ORIGINALS:
            system.send(full_message(f"2/4/{name}", system.serve(name, data), "iiif-img:default"))
        system.settle()
        yield system


@pytest.mark.parametrize(
    ("code", "body"), BAD_MESSAGES, ids=[f"{n}-{code}" for n, (code, _) in enumerate(BAD_MESSAGES)]
)
def test_a_bad_message_is_kept_with_its_reason(fed: System, code: str, body: str) -> None:
    (kept,) = [each for each in fed.ledger.inbox.rejected() if each["body"] == body]
    assert kept["code"] == code
    assert kept["cause"]
    assert kept["remedy"]


def test_bad_messages_leave_the_queue_and_are_counted_once(fed: System) -> None:
    """Each of them is in the ledger once."""
    assert fed.waiting_messages() == 0
    assert len(fed.ledger.inbox.rejected()) == len(BAD_MESSAGES)


def test_the_message_after_a_bad_one_is_not_held_up(fed: System) -> None:
    assert fed.status("2/2/good").state == "done"


@pytest.mark.parametrize(("name", "stage_and_code"), [bad[:2] for bad in BAD_ORIGINALS])
def test_a_bad_original_fails_with_stage_cause_and_remedy(fed: System, name: str, stage_and_code: str) -> None:
    status = fed.status(f"2/3/{name}")
    assert status.state == "failed"
    assert f"{status.error_stage} {status.error_code}" == stage_and_code
    assert status.error_cause
    assert status.error_remedy
    before = STAGES.index(Stage(str(status.error_stage)))
    assert fed.partition(f"2/3/{name}") == ("materialized",) * before + ("failed",) * (3 - before)


@pytest.mark.parametrize(("name", "data"), GOOD_ORIGINALS, ids=[name for name, _ in GOOD_ORIGINALS])
def test_an_unusual_original_that_is_an_image_passes(fed: System, name: str, data: bytes) -> None:
    assert fed.status(f"2/4/{name}").state == "done", f"{len(data)} bytes"
    assert fed.storage()[f"2/4/{name}"].content_type == "image/jp2"


def test_of_a_bad_original_nothing_is_stored(fed: System) -> None:
    """Under use-original the original is the product: that it does not decode shows when it is fetched."""
    assert set(fed.storage("2/3/")) == set()
    assert set(fed.thumbs("2/3/")) == set()
    assert fed.left_in_scratch() == []


def test_a_customer_of_another_engine_is_forwarded_unchanged(make_system: Callable[..., System]) -> None:
    system = make_system(customers=(2,))
    elsewhere = system.sqs.create_queue(QueueName=f"elsewhere-{system.settings.storage_bucket}")["QueueUrl"]
    system.use(forward_queue_url=elsewhere)
    body = json.dumps(full_message("3/1/page", GOOD_URL, "file"))
    system.send(body)
    tick = system.tick("sqs_ingest")
    assert tick.skipped is not None
    assert "1 forwarded" in tick.skipped
    (message,) = system.sqs.receive_message(QueueUrl=elsewhere)["Messages"]
    assert message["Body"] == body
    assert system.ledger.inbox.rejected() == []


def test_without_another_engine_an_unknown_customer_is_rejected(
    make_system: Callable[..., System],
) -> None:
    """With one, the message would be forwarded to it."""
    system = make_system(customers=(2,))
    system.send(full_message("3/1/page", GOOD_URL, "file"))
    system.tick("sqs_ingest")
    (kept,) = system.ledger.inbox.rejected()
    assert kept["code"] == "customer_not_configured"
