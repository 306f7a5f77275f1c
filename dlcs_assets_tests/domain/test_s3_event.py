from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import S3Event, S3Record, parse_message
from dlcs_assets.domain.s3_event import event_body

MOMENT = datetime(2026, 11, 22, 10, 0, 0, 123000, UTC)


def record(event_name: str = "ObjectCreated:Put", key: str = "2/1/page-1", **stored: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-11-22T10:00:00.123Z",
        "eventName": event_name,
        "s3": {"bucket": {"name": "dlcs-origin"}, "object": {"key": key, **stored}},
    }


def records(body: str) -> tuple[S3Record, ...]:
    parsed = parse_message(body)
    assert isinstance(parsed, tuple)
    return parsed


def events(body: str) -> list[S3Event | MessageRejectedError]:
    return [each.event for each in records(body)]


def event(body: str) -> S3Event:
    (only,) = events(body)
    assert isinstance(only, S3Event)
    return only


def test_an_upload_is_an_event() -> None:
    body = json.dumps({"Records": [record(size=1024, eTag="abc", sequencer="0055AED6DCD90281E5")]})
    assert event(body) == S3Event(
        "dlcs-origin", "2/1/page-1", "ObjectCreated:Put", 1024, "abc", "0055AED6DCD90281E5", MOMENT
    )


def test_a_deletion_is_not_an_upload_and_has_no_size_or_etag() -> None:
    body = json.dumps({"Records": [record("ObjectRemoved:Delete"), record("s3:ObjectCreated:Copy", size=1)]})
    found = [each for each in events(body) if isinstance(each, S3Event)]
    assert [(each.event_name, each.is_upload, each.size) for each in found] == [
        ("ObjectRemoved:Delete", False, None),
        ("s3:ObjectCreated:Copy", True, 1),
    ]


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("2/1/page+1.tif", "2/1/page 1.tif"),
        ("2/1/page%2B1.tif", "2/1/page+1.tif"),
        ("2/1/50%25+%C3%A9+%28a%29", "2/1/50% é (a)"),
        ("2/1/a%20b+", "2/1/a b "),
        ("2%2F1%2Fpage", "2/1/page"),
        ("2/1/recto%252Fverso", "2/1/recto%2Fverso"),
    ],
)
def test_keys_are_decoded_once_and_as_form_fields(sent: str, key: str) -> None:
    assert event(json.dumps({"Records": [record(key=sent)]})).key == key


def test_events_are_read_in_the_envelope_of_sns_too() -> None:
    """A bucket may notify a topic to which the queue is subscribed."""
    wrapped = {"TopicArn": "arn", "Message": json.dumps({"Records": [record()]})}
    assert records(json.dumps(wrapped)) == records(json.dumps({"Records": [record()]}))


def test_an_event_of_eventbridge_is_read_and_its_key_not_decoded() -> None:
    """EventBridge says the same in other words, and its keys are not form-encoded: + and %20 stay."""
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
    assert event(json.dumps(body)) == expected
    assert event(records(json.dumps(body))[0].body) == expected


@pytest.mark.parametrize(
    "body", [{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "dlcs-origin"}, {"Records": []}]
)
def test_a_message_without_an_event_is_none(body: dict[str, Any]) -> None:
    assert records(json.dumps(body)) == ()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"Records": [12]}, "Records[0]"),
        ({"Records": [{"eventSource": "aws:ses"}]}, "Records[0].eventSource"),
        ({"Records": [{**record(), "s3": None}]}, "Records[0].s3"),
        ({"Records": [{**record(), "s3": {"bucket": {"name": "b" * 101}, "object": {}}}]}, "Records[0].s3.bucket.name"),
        ({"Records": [{**record(), "eventTime": "0001-01-01T00:00:00+14:00"}]}, "Records[0].eventTime"),
        ({"Records": [{**record(), "s3": {"bucket": {"name": "b"}}}]}, "Records[0].s3.object"),
        ({"Records": [record(key="")]}, "Records[0].s3.object.key"),
        ({"Records": [{**record(), "eventTime": "yesterday"}]}, "Records[0].eventTime"),
        ({"source": "aws.s3"}, "detail"),
        ({"source": "aws.s3", "detail": {"object": {"key": "k"}}}, "detail-type"),
    ],
)
def test_an_incomplete_event_is_refused_by_the_name_of_the_field(body: dict[str, Any], named: str) -> None:
    """A field of the wrong type, or a time that cannot be, must not become an exception in the sensor."""
    (refused,) = events(json.dumps(body))
    assert isinstance(refused, MessageRejectedError)
    assert refused.code == "field_malformed"
    assert refused.cause.startswith(named)


def test_each_record_of_a_message_is_read_by_itself() -> None:
    body = json.dumps({"Records": [record(key="2/1/a"), 12, {**record(), "s3": None}, record(key="2/1/b")]})
    found = [each.key if isinstance(each, S3Event) else each.cause.partition(" ")[0] for each in events(body)]
    assert found == ["2/1/a", "Records[1]", "Records[2].s3", "2/1/b"]


def test_a_record_is_a_message_of_its_own_too() -> None:
    first, second = records(json.dumps({"Records": [record(key="2/1/a"), record(key="2/1/b+c", sequencer="0F")]}))
    assert (event(first.body), event(second.body)) == (first.event, second.event)


@pytest.mark.parametrize(
    ("stored", "size", "etag", "sequencer"),
    [
        ({"size": 2**63, "eTag": "x" * 101, "sequencer": "g"}, None, None, None),
        ({"size": -1, "eTag": "", "sequencer": 12}, None, None, None),
        ({"size": True, "eTag": "abc-2", "sequencer": "0f"}, None, "abc-2", "0f"),
    ],
)
def test_fields_that_cannot_compare_events_count_as_missing(
    stored: dict[str, Any], size: int | None, etag: str | None, sequencer: str | None
) -> None:
    found = event(json.dumps({"Records": [record(**stored)]}))
    assert (found.size, found.etag, found.sequencer) == (size, etag, sequencer)


def test_an_object_found_by_listing_is_written_like_an_event() -> None:
    """An object without an event takes the same way through the ledger, whatever characters its key has."""
    found = S3Event("scans", "2/1/50% é+a b", "ObjectCreated:Listed", 12, "abc", None, MOMENT)
    assert event(event_body(found)) == found
