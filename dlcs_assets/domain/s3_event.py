"""Events of S3 buckets, as S3 sends them to a queue itself, or by way of EventBridge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote_plus

from dlcs_assets.domain.json_fields import Fields
from dlcs_assets.domain.text import is_storable

_SOURCE: Final = "aws:s3"
_EVENT_BRIDGE_SOURCE: Final = "aws.s3"
_TEST_EVENT: Final = "s3:TestEvent"


@dataclass(frozen=True, slots=True)
class S3Event:
    """Something happened to an object. `event_name` is such as `ObjectCreated:Put`, `ObjectRemoved:Delete`.

    The key is as S3 knows it, not URL-encoded. `sequencer` orders the events of one key.
    """

    bucket: str
    key: str
    event_name: str
    size: int | None = None
    etag: str | None = None
    sequencer: str | None = None
    time: datetime | None = None


def holds_s3_events(message: Fields) -> bool:
    """Tell whether a message is one of S3's."""
    return (
        message.get("Event") == _TEST_EVENT
        or isinstance(message.get("Records"), list)
        or message.get("source") == _EVENT_BRIDGE_SOURCE
    )


def parse_s3_events(message: Fields) -> tuple[S3Event, ...]:
    """Read the events; the message that S3 sends to try a queue has none. Raises `MessageRejected`."""
    if message.get("Event") == _TEST_EVENT:
        return ()
    if message.get("source") == _EVENT_BRIDGE_SOURCE:
        return (_event_bridge(message),)
    return tuple(_record(record) for record in message.objects("Records"))


def _record(record: Fields) -> S3Event:
    if record.get("eventSource") != _SOURCE:
        raise record.malformed("eventSource", _SOURCE)
    s3 = _object(record, "s3")
    stored = _object(s3, "object")
    return S3Event(
        bucket=_string(_object(s3, "bucket"), "name"),
        # As a form field is: a space is a plus.
        key=unquote_plus(_string(stored, "key")),
        event_name=_string(record, "eventName"),
        size=_bytes(stored),
        etag=stored.string("eTag"),
        sequencer=stored.string("sequencer"),
        time=record.timestamp("eventTime"),
    )


def _event_bridge(message: Fields) -> S3Event:
    detail = _object(message, "detail")
    stored = _object(detail, "object")
    kind, reason = _string(message, "detail-type").replace(" ", ""), detail.string("reason")
    return S3Event(
        bucket=_string(_object(detail, "bucket"), "name"),
        key=_string(stored, "key"),  # EventBridge does not encode it
        event_name=f"{kind}:{reason}" if reason else kind,
        size=_bytes(stored),
        etag=stored.string("etag"),
        sequencer=stored.string("sequencer"),
        time=message.timestamp("time"),
    )


def _object(fields: Fields, name: str) -> Fields:
    if (value := fields.object(name)) is None:
        raise fields.malformed(name, "an object")
    return value


def _string(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or not is_storable(value):
        raise fields.malformed(name, "a string without control characters")
    return value  # not stripped: a key may begin or end with a space


def _bytes(stored: Fields) -> int | None:
    size = stored.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
