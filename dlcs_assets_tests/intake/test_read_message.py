from __future__ import annotations

import json
from typing import Any

import pytest

from dlcs_assets.clients.sqs import QueueMessage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import IngestMessage, Named, Registration
from dlcs_assets.domain.message_attributes import MessageAttribute, ingest_type
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.messages import check_registration, read_message
from dlcs_assets.ledger.records import InboxMessage
from dlcs_assets.settings import Settings

URL = "http://127.0.0.1:4566/123456789012/dlcs-image"


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DLCS_CUSTOMERS", "DLCS_CUSTOMERS_FILE", "DLCS_FORWARD_QUEUE_URL"):
        monkeypatch.delenv(name, raising=False)


def read(body: dict[str, Any] | str, kind: str | None = None, **settings: Any) -> list[InboxMessage]:
    text = body if isinstance(body, str) else json.dumps(body)
    attributes = {"IngestType": MessageAttribute("String", kind)} if kind else {}
    message = QueueMessage("m-1", text, "receipt", None, attributes)
    return read_message(message, URL, Lane.PRIORITY, Settings(**settings))


def full(image: str, *channels: str) -> dict[str, Any]:
    named = [{"channel": channel} for channel in channels]
    return {"asset": {"id": image, "origin": "https://example.org/page.jpg", "deliveryChannels": named or None}}


def uploaded(key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    stored = {"bucket": {"name": "uploads"}, "object": {"key": key}}
    return {"eventSource": "aws:s3", "eventName": name, "eventTime": "2026-11-22T10:00:00.000Z", "s3": stored}


def test_a_message_keeps_its_id_queue_lane_and_body() -> None:
    (entry,) = read({"id": "2/1/page"})
    assert (entry.id, entry.queue, entry.lane, entry.body) == ("m-1", "dlcs-image", Lane.PRIORITY, '{"id": "2/1/page"}')
    assert isinstance(entry.message, IngestMessage)
    assert str(entry.message.asset_id) == "2/1/page"
    assert entry.rejection is None


def test_what_cannot_be_parsed_is_an_entry_with_its_reason() -> None:
    (entry,) = read("{")
    assert entry.rejection is not None
    assert (entry.rejection.code, entry.message) == ("not_json", None)


@pytest.mark.parametrize("body", [full("3/1/page"), full("2/1/film", "iiif-av")])
def test_what_is_not_ours_is_forwarded_if_a_queue_is_configured(body: dict[str, Any]) -> None:
    """Images of other customers, audio and video must reach the system that still handles them."""
    (entry,) = read(body, customers=(2,), forward_queue_url="http://elsewhere")
    assert entry.forwarded
    assert entry.rejection is None


@pytest.mark.parametrize(
    ("body", "code"),
    [(full("3/1/page"), "customer_not_configured"), (full("2/1/film", "iiif-av"), "iiif_av_not_supported")],
)
def test_what_is_not_ours_is_rejected_without_a_forward_queue(body: dict[str, Any], code: str) -> None:
    """It must not be lost: the rejection has its reason and names the image."""
    (entry,) = read(body, customers=(2,))
    assert not entry.forwarded
    assert entry.rejection is not None
    assert entry.rejection.code == code
    assert entry.message is not None, "the ledger is to know which image was meant"


ADJUNCT = {"id": "2/1/ocr.txt", "assetId": {"customer": 2, "space": 1, "asset": "page"}, "batchId": 3}


@pytest.mark.parametrize(
    ("body", "kind"),
    [(ADJUNCT, None), (ADJUNCT, "IngestAdjunct"), (full("2/1/page"), "IngestAdjunct"), ("no JSON", "IngestVideo")],
)
def test_what_is_about_no_asset_is_forwarded(body: dict[str, Any] | str, kind: str | None) -> None:
    """Even where its customer is ours."""
    (entry,) = read(body, kind, customers=(2,), forward_queue_url="http://elsewhere")
    assert (entry.forwarded, entry.rejection, entry.message) == (True, None, None)
    assert (entry.named.asset_id, entry.named.batch) == (None, None)
    assert ingest_type(entry.attributes) == kind


@pytest.mark.parametrize("kind", [None, "IngestAdjunct"])
def test_what_is_about_no_asset_is_kept_without_a_forward_queue(kind: str | None) -> None:
    """It is neither an image nor one of a batch of images, and its customer is that of its asset."""
    (entry,) = read(ADJUNCT, kind, customers=(2,))
    assert (entry.rejection and entry.rejection.code, entry.message) == ("ingest_type_not_supported", None)
    assert entry.named == Named(customer=2)
    assert json.loads(entry.body) == ADJUNCT


@pytest.mark.parametrize(("kind", "ours"), [("IngestAsset", "IngestAsset"), ("Asset", "Asset"), (None, "Asset")])
def test_which_type_assets_have_is_a_setting(kind: str | None, ours: str) -> None:
    (entry,) = read(full("2/1/page"), kind, customers=(2,), ingest_type=ours)
    assert entry.message is not None
    assert str(entry.message.asset_id) == "2/1/page"


def test_each_record_of_an_s3_event_is_an_entry_of_its_own() -> None:
    entries = read({"Records": [uploaded("2/1/a"), uploaded("2/1/b+c")]})
    assert [entry.id for entry in entries] == ["m-1#0", "m-1#1"]
    messages = [entry.message for entry in entries]
    assert [str(message.asset_id) for message in messages if message] == ["2/1/a", "2/1/b c"]
    assert [message.asset.origin for message in messages if message and message.asset] == [
        "s3://uploads/2/1/a",
        "s3://uploads/2/1/b c",
    ]


def test_an_upload_changes_nothing_but_the_origin() -> None:
    (entry,) = read({"Records": [uploaded("2/1/a")]})
    assert entry.message is not None
    fields = entry.message.asset
    assert fields is not None
    assert (fields.media_type, fields.channels, fields.max_unauthorised, fields.roles) == (None, None, None, None)


@pytest.mark.parametrize("name", ["ObjectRemoved:Delete", "ObjectTagging:Put", "s3:LifecycleExpiration:Delete"])
def test_an_event_that_is_not_an_upload_is_recorded_and_ignored(name: str) -> None:
    (entry,) = read({"Records": [uploaded("2/1/a", name)]})
    assert (entry.message, entry.rejection) == (None, None)


def test_the_test_event_of_s3_is_recorded_and_ignored() -> None:
    """S3 sends it when notifications are set up: it must not appear among the rejected messages."""
    (entry,) = read({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "uploads"})
    assert (entry.id, entry.message, entry.rejection) == ("m-1", None, None)


def test_an_upload_outside_the_convention_is_rejected_alone() -> None:
    bad, good = read({"Records": [uploaded("thumbs.db"), uploaded("2/1/a")]})
    assert bad.rejection is not None
    assert bad.rejection.code == "key_outside_convention"
    assert good.rejection is None


@pytest.mark.parametrize(
    ("image", "origin", "code"),
    [
        ("3/1/a", "https://example.org/a.jpg", "customer_not_configured"),
        ("2/1/a", "s3://dlcs-storage/5/1/secret", "origin_not_allowed"),
        ("2/1/a", "s3://portal/5/1/secret", "origin_of_another_customer"),
    ],
)
def test_what_can_never_be_ingested_is_not_registered(image: str, origin: str, code: str) -> None:
    settings = Settings(customers=(2,), origin_bucket="portal")
    with pytest.raises(MessageRejectedError) as rejected:
        check_registration(AssetId.parse(image), Registration(origin), settings)
    assert rejected.value.code == code
