from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import (
    AssetFields,
    BatchReference,
    IngestMessage,
    Named,
    OtherMessage,
    Registration,
    S3Event,
    named_in,
    parse_message,
    register,
)

ID = AssetId(99, 1, "my-image")
PARTS = {"customer": 99, "space": 1, "asset": "my-image"}
BOTH = (RequestedChannel(Channel.IIIF_IMG, "default"), RequestedChannel(Channel.THUMBS, "default"))


def read(**fields: Any) -> IngestMessage:
    message = parse_message(json.dumps(fields))
    assert isinstance(message, IngestMessage)
    return message


def refusal(body: str) -> MessageRejectedError:
    with pytest.raises(MessageRejectedError) as refused:
        parse_message(body)
    refused.value.cause.encode()  # can be stored, whatever was in the message
    return refused.value


def test_a_message_of_the_dlcs_engine_names_a_registered_image() -> None:
    """Its timestamp has seven digits of fractions, and its batch is called batchId."""
    body = """{"created":"2025-01-20T10:11:12.1234567Z","id":{"customer":99,"space":1,"asset":"my-image"},"batchId":123}
    """
    assert parse_message(body) == IngestMessage(
        ID, datetime(2025, 1, 20, 10, 11, 12, 123456, UTC), BatchReference(123), asset=None
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"id": PARTS},
        {"id": "99/1/my-image"},
        {"ID": {"Customer": "99", "Space": "1", "Asset": "my-image"}, "more": {"of": "this"}},
        {"id": PARTS, "created": None, "batchId": None, "asset": None, "batch": None},
    ],
)
def test_an_id_is_enough_in_any_of_its_forms(fields: dict[str, Any]) -> None:
    assert read(**fields) == IngestMessage(ID)


def test_the_full_form_says_everything_about_an_image() -> None:
    message = read(
        created="2026-11-22T10:00:00Z",
        batchId=12,
        asset={
            "id": "99/1/my-image",
            "origin": " https://example.org/page-1.tif ",
            "mediaType": "Image/TIFF; charset=binary",
            "deliveryChannels": [
                {"channel": "iiif-img", "policy": "default"},
                {"channel": "thumbs", "policy": "default"},
            ],
            "maxUnauthorised": "400",
            "roles": ["https://example.org/roles/staff", " "],
        },
    )
    assert message.batch == BatchReference(12)
    assert message.asset == AssetFields(
        "https://example.org/page-1.tif", "image/tiff", BOTH, 400, ("https://example.org/roles/staff",)
    )


@pytest.mark.parametrize(
    "asset",
    [
        {},
        {"origin": None, "mediaType": None, "deliveryChannels": None, "maxUnauthorised": None, "roles": None},
        {"origin": " ", "mediaType": "unknown", "family": "I"},
    ],
)
def test_a_message_may_say_nothing_about_a_field(asset: dict[str, Any]) -> None:
    assert read(asset={"id": PARTS, **asset}).asset == AssetFields()
    assert read(id=PARTS, asset=asset).asset == AssetFields()


@pytest.mark.parametrize(
    ("roles", "expected"),
    [([], ()), ("", ()), ("a,b, a", ("a", "b")), (["b", "a"], ("b", "a")), (["a,b"], ("a,b",))],
)
def test_roles_are_a_list_or_separated_by_commas(roles: object, expected: tuple[str, ...]) -> None:
    asset = read(asset={"id": PARTS, "roles": roles}).asset
    assert asset is not None
    assert asset.roles == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"batchId": 123}, BatchReference(123)),
        ({"batchid": "123"}, BatchReference(123)),
        ({"batchId": 0}, None),
        ({"batchId": -1}, None),
        ({"batch": {"id": 12, "count": 500}}, BatchReference(12, 500)),
        ({"batch": {"id": 12, "count": 500}, "batchId": 12}, BatchReference(12, 500)),
        ({"batch": {"id": "12"}}, BatchReference(12)),
        ({"batch": {"id": 0, "count": 500}}, None),
        ({"batch": {}}, None),
    ],
)
def test_a_batch_is_a_positive_number_and_may_have_a_count(
    fields: dict[str, Any], expected: BatchReference | None
) -> None:
    assert read(id=PARTS, **fields).batch == expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2020-04-09T00:00:00", datetime(2020, 4, 9, tzinfo=UTC)),
        ("2025-01-20T10:11:12.1234567+01:00", datetime(2025, 1, 20, 10, 11, 12, 123456, timezone(timedelta(hours=1)))),
    ],
)
def test_timestamps_are_read_at_any_precision(created: str, expected: datetime) -> None:
    assert read(id=PARTS, created=created).created == expected


ADJUNCT = {"created": "2026-05-01T10:11:12Z", "id": "2/1/ocr.txt", "assetId": PARTS, "batchId": 3}


@pytest.mark.parametrize("id_", ["2/1/ocr.txt", "ocr.txt", 7, None])
@pytest.mark.parametrize("asset_id", [PARTS, "99/1/my-image"])
def test_an_adjunct_is_no_asset_whatever_its_id(id_: object, asset_id: object) -> None:
    """Its batch is one of adjuncts."""
    body = json.dumps({**ADJUNCT, "id": id_, "assetId": asset_id})
    assert parse_message(body) == OtherMessage("IngestAdjunct", 99)
    assert named_in(body) == Named(customer=99)


def test_an_adjunct_in_an_envelope_is_no_asset() -> None:
    assert parse_message(json.dumps({"TopicArn": "arn", "Message": json.dumps(ADJUNCT)})) == OtherMessage(
        "IngestAdjunct", 99
    )


@pytest.mark.parametrize("body", [json.dumps(ADJUNCT), json.dumps({"id": PARTS}), "no JSON"])
def test_what_the_sender_says_a_message_is_counts(body: str) -> None:
    customer = 99 if "assetId" in body else None
    assert parse_message(body, "IngestAdjunct") == OtherMessage("IngestAdjunct", customer)
    assert parse_message(body, "IngestVideo") == OtherMessage("IngestVideo", customer)


def test_a_message_about_an_asset_is_known_by_its_type() -> None:
    """Which one that is, is a setting: the DLCS may call it otherwise."""
    body = json.dumps({"id": PARTS, "batchId": 3})
    message = IngestMessage(ID, batch=BatchReference(3))
    assert parse_message(body) == parse_message(body, "IngestAsset") == message
    assert parse_message(body, "IngestImage", asset_kind="IngestImage") == message
    assert parse_message(body, "IngestAsset", asset_kind="IngestImage") == OtherMessage("IngestAsset")


def test_a_notification_of_sns_holds_the_message() -> None:
    body = {"Type": "Notification", "Message": json.dumps({"id": PARTS}), "TopicArn": "arn:aws:sns:eu-west-1:1:topic"}
    assert parse_message(json.dumps(body)) == IngestMessage(ID)


def cloud_event(**data: Any) -> dict[str, Any]:
    attributes = {"specversion": "1.0", "id": "a-1", "source": "/library", "type": "org.library.page"}
    return {**attributes, "datacontenttype": "application/json", **data}


def event_bridge(detail: object) -> dict[str, Any]:
    fields = {"version": "0", "id": "b-1", "detail-type": "page ready", "source": "org.library", "account": "1"}
    return {**fields, "time": "2026-11-22T10:00:00Z", "region": "eu-west-1", "resources": [], "detail": detail}


INSIDE = {"id": "2/1/x"}
ENVELOPES = [
    cloud_event(data=INSIDE),
    cloud_event(data=json.dumps(INSIDE)),
    cloud_event(data_base64=base64.b64encode(json.dumps(INSIDE).encode()).decode()),
    event_bridge(INSIDE),
    event_bridge(cloud_event(data=INSIDE)),
    {"TopicArn": "arn", "Message": json.dumps(cloud_event(data=INSIDE))},
    {"TopicArn": "arn", "Message": json.dumps(event_bridge(INSIDE))},
    cloud_event(data={"TopicArn": "arn", "Message": json.dumps(INSIDE)}),
]


@pytest.mark.parametrize("body", ENVELOPES)
def test_an_envelope_of_a_broker_is_taken_off(body: dict[str, Any]) -> None:
    """Its own id is not the image's."""
    assert parse_message(json.dumps(body)) == IngestMessage(AssetId.parse("2/1/x"))
    assert named_in(json.dumps(body)).asset_id == AssetId.parse("2/1/x")


def test_an_s3_event_in_an_envelope_is_read() -> None:
    stored = {"bucket": {"name": "b"}, "object": {"key": "2/1/x"}}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": stored}
    records = parse_message(json.dumps(cloud_event(data={"Records": [record]})))
    assert isinstance(records, tuple)
    assert [each.event.key for each in records if isinstance(each.event, S3Event)] == ["2/1/x"]


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        (cloud_event(data={"page": 1}), "unknown_form", "CloudEvents event of type 'org.library.page' from '/library'"),
        (event_bridge({"page": 1}), "unknown_form", "EventBridge event of type 'page ready' from 'org.library'"),
        (cloud_event(), "not_an_object", "data of a CloudEvents event"),
        (cloud_event(data="page 1"), "not_json", "data of a CloudEvents event"),
        (cloud_event(data_base64="*"), "not_json", "data of a CloudEvents event"),
        (event_bridge(None), "not_an_object", "detail of an EventBridge event"),
        (cloud_event(data=[], source={"deep": []}), "not_an_object", "from an object is a list"),
    ],
)
def test_an_envelope_around_something_else_is_named(body: dict[str, Any], code: str, named: str) -> None:
    with pytest.raises(MessageRejectedError) as caught:
        parse_message(json.dumps(body))
    assert caught.value.code == code
    assert named in caught.value.cause


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        ("", "not_json", "JSON"),
        ("{", "not_json", "JSON"),
        ("[" * 100_000, "not_json", "JSON"),
        ('{"id": ' + "9" * 5000 + "}", "not_json", "JSON"),
        ('"2/1/x"', "not_an_object", "a string"),
        ("null", "not_an_object", "null"),
        ("[]", "not_an_object", "a list"),
        ('{"TopicArn": "arn", "Message": "hello-world"}', "not_json", "Message"),
        ('{"TopicArn": "arn", "Message": 12}', "not_json", "a number"),
        ('{"TopicArn": "arn", "Message": "[]"}', "not_an_object", "Message"),
        ("{}", "unknown_form", "no fields"),
        ('{"foo": 1, "bar": 2}', "unknown_form", "foo, bar"),
        ('{"created": "not-a-date"}', "unknown_form", "created"),
        ('{"\\ud800\\u0000": 1}', "unknown_form", r"\ud800\x00"),
        ('{"id": null}', "asset_id_missing", "id"),
        ('{"asset": {"origin": "https://example.org"}}', "asset_id_missing", "asset.id"),
        ('{"id": "2/1"}', "asset_id_malformed", "2/1"),
        ('{"id": "2/1/\\ud800"}', "asset_id_malformed", "2/1/"),
        ('{"id": "2/1/' + "x" * 300 + '"}', "asset_id_too_long", "220"),
        ('{"id": "2/1/x", "asset": {"id": "2/1/y"}}', "asset_id_contradictory", "2/1/y"),
        ('{"id": "2/1/x", "created": "not-a-date"}', "field_malformed", "created"),
        ('{"id": "2/1/x", "created": 12}', "field_malformed", "created"),
        ('{"id": "2/1/x", "batchId": "twelve"}', "field_malformed", "batchId"),
        ('{"id": "2/1/x", "batchId": 1.5}', "field_malformed", "batchId"),
        ('{"id": "2/1/x", "batchId": true}', "field_malformed", "batchId"),
        ('{"id": "2/1/x", "batchId": 99999999999}', "field_malformed", "batchId"),
        ('{"id": "2/1/x", "batch": 12}', "field_malformed", "batch"),
        ('{"id": "2/1/x", "batch": {"id": 12, "count": 0}}', "field_malformed", "batch.count"),
        ('{"id": "2/1/x", "batch": {"id": 12}, "batchId": 13}', "field_malformed", "batchId"),
        ('{"asset": "2/1/x"}', "field_malformed", "asset"),
        ('{"asset": {"id": "2/1/x", "origin": 12}}', "field_malformed", "asset.origin"),
        ('{"asset": {"id": "2/1/x", "origin": "https://a\\u0000b"}}', "field_malformed", "asset.origin"),
        ('{"asset": {"id": "2/1/x", "roles": [1]}}', "field_malformed", "asset.roles"),
        ('{"asset": {"id": "2/1/x", "roles": {"a": 1}}}', "field_malformed", "asset.roles"),
        ('{"asset": {"id": "2/1/x", "maxUnauthorised": "all"}}', "field_malformed", "asset.maxUnauthorised"),
        ('{"asset": {"id": "2/1/x", "deliveryChannels": []}}', "channels_empty", "deliveryChannels"),
        ('{"asset": {"id": "2/1/x", "deliveryChannels": [{"channel": "?"}]}}', "unknown_channel", "'?'"),
        # The form before 2024-03-22, which the DLCS engine does not read any more either.
        ('{"_type": "event", "message": "event::image-ingest", "params": {"image": "{}"}}', "legacy_form", "_type"),
        ('{"_type": "event", "params": {}}', "legacy_form", "_type"),
    ],
)
def test_an_invalid_message_is_refused_with_its_reason(body: str, code: str, named: str) -> None:
    rejected = refusal(body)
    assert rejected.code == code
    assert named in rejected.cause
    assert rejected.remedy


def test_a_refusal_does_not_repeat_what_may_be_secret() -> None:
    rejected = refusal('{"asset": {"id": "2/1/x", "origin": ["https://user:secret@example.org/"]}}')
    assert "secret" not in str(rejected)


def test_what_a_message_omits_keeps_its_registered_value() -> None:
    """A restricted image must not turn public because a message was short."""
    registered = Registration("https://example.org/1.tif", "image/tiff", BOTH, 400, ("staff",))
    assert register(AssetFields(), registered) == registered
    assert register(AssetFields(origin="https://example.org/2.tif"), registered) == Registration(
        "https://example.org/2.tif", "image/tiff", BOTH, 400, ("staff",)
    )


def test_what_a_message_states_explicitly_is_registered() -> None:
    registered = Registration("https://example.org/1.tif", "image/tiff", BOTH, 400, ("staff",))
    fields = AssetFields(media_type="image/jpeg", channels=(), max_unauthorised=-1, roles=())
    assert register(fields, registered) == Registration("https://example.org/1.tif", "image/jpeg")


def test_a_new_image_is_registered_with_the_defaults_of_the_dlcs() -> None:
    """What a message leaves out must not turn into limits or roles of our own."""
    expected = Registration("s3://b/k", media_type=None, channels=None, max_unauthorised=-1, roles=())
    assert register(AssetFields(origin="s3://b/k"), None) == expected


def test_an_image_without_an_origin_cannot_be_registered() -> None:
    with pytest.raises(MessageRejectedError) as refused:
        register(AssetFields(media_type="image/jpeg"), None)
    assert refused.value.code == "origin_missing"


@pytest.mark.parametrize(
    "registration",
    [
        Registration("https://example.org/1.tif"),
        Registration("https://example.org/1.tif", "image/tiff", (*BOTH, RequestedChannel(Channel.FILE)), 0, ("a", "b")),
    ],
)
def test_a_registration_can_be_read_from_a_database_column(registration: Registration) -> None:
    assert Registration.of_json(json.loads(json.dumps(registration.to_json()))) == registration
