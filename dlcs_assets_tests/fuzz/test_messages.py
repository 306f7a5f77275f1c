"""Whatever a queue delivers is a request, an event, or rejected with a reason that can be stored and shown."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import IngestMessage, Registration, parse_message, register
from dlcs_assets.domain.manifest import read_manifest
from dlcs_assets.domain.modified import parse_modified
from dlcs_assets_tests.fuzz.generating import JSON, changed, damaged
from dlcs_testing.whole_system import IMAGE_CHANNELS, full_message

FULL: dict[str, Any] = {
    **full_message("2/1/page", "https://example.org/page.jpg", IMAGE_CHANNELS),
    "batch": {"id": 7, "count": 2},
    "created": "2026-05-04T12:00:00Z",
}
EVENT = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-west-1",
            "eventTime": "2026-05-04T12:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": "uploads", "arn": "arn:aws:s3:::uploads"},
                "object": {"key": "2/1/a+b%2Fc.jpg", "size": 1024, "eTag": "00", "sequencer": "0055AED6DCD90281E5"},
            },
        }
    ]
}
BRIDGE = {
    "version": "0",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {
        "bucket": {"name": "uploads"},
        "object": {"key": "2/1/page.jpg", "size": 1, "etag": "00", "sequencer": "0"},
    },
}
DELETED = {"asset": {"id": "2/1/page", "deliveryChannels": [{"channel": "thumbs"}]}, "deleteFrom": ["cdn"]}
UPDATED = {"assetBeforeUpdate": {"id": "2/1/page"}, "assetAfterUpdate": {"id": "2/1/page", "roles": []}}


def wrapped(value: Any) -> str:
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:::t", "Message": json.dumps(value)})


BODIES = (
    st.text()
    | JSON.map(json.dumps)
    | st.sampled_from([FULL, EVENT, BRIDGE]).flatmap(changed).map(json.dumps)
    | st.sampled_from([FULL, EVENT, BRIDGE]).flatmap(changed).map(wrapped)
    | damaged(json.dumps(FULL).encode()).map(lambda data: data.decode("utf-8", "replace"))
)


def check(error: MessageRejectedError) -> None:
    """A reason has a code, a cause and a remedy, and none is without end."""
    assert error.code
    assert error.code.replace("_", "").isalnum()
    assert error.cause.strip()
    assert error.remedy.strip()
    assert len(error.cause) < 2000


@given(BODIES)
@example("")
@example("[" * 3000)
@example('{"a":' * 3000)
@example("9" * 5000)
@example('{"asset": {"id": "2/1/x", "id": "2/1/y"}}')
def test_a_message_is_read_or_rejected_with_a_reason(body: str) -> None:
    try:
        message = parse_message(body)
    except MessageRejectedError as error:
        check(error)
        return
    if isinstance(message, IngestMessage) and message.asset is not None:
        try:
            registration = register(message.asset, None)
        except MessageRejectedError as error:
            check(error)
            return
        assert Registration.of_json(json.loads(json.dumps(registration.to_json()))) == registration


@given(
    JSON.map(json.dumps)
    | st.sampled_from([DELETED, UPDATED]).flatmap(changed).map(json.dumps)
    | st.sampled_from([DELETED, UPDATED]).flatmap(changed).map(wrapped),
    st.dictionaries(
        st.sampled_from(["modificationType", "engineNotified", "messageType"]), st.text(max_size=10), max_size=3
    ),
)
def test_a_notification_is_read_or_rejected_with_a_reason(body: str, attributes: dict[str, str]) -> None:
    try:
        parse_modified(body, attributes, None)
    except MessageRejectedError as error:
        check(error)


MANIFESTS = (
    b'id,origin,deliveryChannels\n2/1/a,https://example.org/a.jpg,"iiif-img:default,thumbs"\n2/1/b,s3://b/k,file\n',
    b'{"id": "2/1/a", "origin": "https://example.org/a.jpg"}\n{"id": "2/1/b", "origin": "s3://b/k"}\n',
    b'[{"id": "2/1/a", "origin": "https://example.org/a.jpg", "roles": ["x"]}]',
)


@given(st.binary(max_size=200) | st.sampled_from(MANIFESTS).flatmap(damaged))
def test_a_manifest_is_read_with_its_mistakes_by_line(data: bytes) -> None:
    manifest = read_manifest(data, customer=2, space=1)
    assert all(mistake.line >= 1 for mistake in manifest.mistakes)
    assert manifest.rows or manifest.mistakes
