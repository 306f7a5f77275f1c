from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dlcs_assets.domain.errors import MessageRejected
from dlcs_assets.domain.ingest_request import S3Event, parse_message

MOMENT = datetime(2026, 11, 22, 10, 0, 0, 123000, UTC)


def record(event_name: str = "ObjectCreated:Put", key: str = "2/1/page-1", **stored: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-11-22T10:00:00.123Z",
        "eventName": event_name,
        "s3": {"bucket": {"name": "dlcs-origin"}, "object": {"key": key, **stored}},
    }


def test_an_upload_is_an_event() -> None:
    body = json.dumps({"Records": [record(size=1024, eTag="abc", sequencer="0055AED6DCD90281E5")]})
    assert parse_message(body) == (
        S3Event("dlcs-origin", "2/1/page-1", "ObjectCreated:Put", 1024, "abc", "0055AED6DCD90281E5", MOMENT),
    )


def test_a_deletion_has_neither_size_nor_etag() -> None:
    body = json.dumps({"Records": [record("ObjectRemoved:Delete"), record("ObjectCreated:Copy", size=1)]})
    events = parse_message(body)
    assert isinstance(events, tuple)
    assert [(event.event_name, event.size) for event in events] == [
        ("ObjectRemoved:Delete", None),
        ("ObjectCreated:Copy", 1),
    ]


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("2/1/page+1.tif", "2/1/page 1.tif"),
        ("2/1/page%2B1.tif", "2/1/page+1.tif"),
        ("2/1/50%25+%C3%A9+%28a%29", "2/1/50% é (a)"),
        ("2/1/a%20b+", "2/1/a b "),
    ],
)
def test_keys_are_decoded_as_form_fields(sent: str, key: str) -> None:
    (event,) = parse_message(json.dumps({"Records": [record(key=sent)]}))  # type: ignore[misc]  # a tuple, or it fails
    assert isinstance(event, S3Event)
    assert event.key == key


def test_events_come_in_sns_s_wrapping_too() -> None:
    wrapped = {"TopicArn": "arn", "Message": json.dumps({"Records": [record()]})}
    assert parse_message(json.dumps(wrapped)) == parse_message(json.dumps({"Records": [record()]}))


def test_event_bridge_says_the_same_in_other_words_and_does_not_encode_keys() -> None:
    body = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-11-22T10:00:00.123Z",
        "detail": {
            "bucket": {"name": "dlcs-origin"},
            "object": {"key": "2/1/a+b%20c", "size": 5, "etag": "abc", "sequencer": "01"},
            "reason": "PutObject",
        },
    }
    expected = S3Event("dlcs-origin", "2/1/a+b%20c", "ObjectCreated:PutObject", 5, "abc", "01", MOMENT)
    assert parse_message(json.dumps(body)) == (expected,)


@pytest.mark.parametrize(
    "body", [{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "dlcs-origin"}, {"Records": []}]
)
def test_a_message_without_an_event_is_none(body: dict[str, Any]) -> None:
    assert parse_message(json.dumps(body)) == ()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"Records": [12]}, "Records"),
        ({"Records": [{"eventSource": "aws:ses"}]}, "Records[0].eventSource"),
        ({"Records": [record(), {**record(), "s3": None}]}, "Records[1].s3"),
        ({"Records": [{**record(), "s3": {"bucket": {"name": "b"}}}]}, "Records[0].s3.object"),
        ({"Records": [record(key="")]}, "Records[0].s3.object.key"),
        ({"Records": [{**record(), "eventTime": "yesterday"}]}, "Records[0].eventTime"),
        ({"source": "aws.s3"}, "detail"),
        ({"source": "aws.s3", "detail": {"object": {"key": "k"}}}, "detail-type"),
    ],
)
def test_an_event_that_lacks_something_is_refused_by_the_field_s_name(body: dict[str, Any], named: str) -> None:
    with pytest.raises(MessageRejected) as refused:
        parse_message(json.dumps(body))
    assert refused.value.code == "field_malformed"
    assert refused.value.cause.startswith(named)
