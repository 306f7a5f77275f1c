"""Events of S3 buckets, as S3 sends them to a queue itself, or by way of EventBridge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus, unquote_plus

from dlcs_assets.domain.envelope import EVENT_BRIDGE_S3
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.json_fields import Fields, kind_of
from dlcs_assets.domain.text import is_storable

_SOURCE: Final = "aws:s3"
_TEST_EVENT: Final = "s3:TestEvent"
_CREATED: Final = "ObjectCreated"
_SEQUENCER: Final = re.compile(r"[0-9A-Fa-f]{1,100}")
_ETAG: Final = re.compile(r"[!-~]{1,100}")
_LONGEST_BUCKET: Final = 100
_LARGEST: Final = 2**63 - 1


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

    @property
    def is_upload(self) -> bool:
        """Return whether there is a new object, or a new version of one."""
        return self.event_name.removeprefix("s3:").startswith(_CREATED)


@dataclass(frozen=True, slots=True)
class S3Record:
    """One of the events of a message, or why it can't be read; `body` is a message with this one alone."""

    event: S3Event | MessageRejectedError
    body: str


def holds_s3_events(message: Fields) -> bool:
    """Return whether a message is one of S3's."""
    return (
        message.get("Event") == _TEST_EVENT
        or isinstance(message.get("Records"), list)
        or message.get("source") == EVENT_BRIDGE_S3
    )


def parse_s3_events(message: Fields) -> tuple[S3Record, ...]:
    """Read the events, each by itself; the message that S3 sends to try a queue has none."""
    if message.get("Event") == _TEST_EVENT:
        return ()
    if message.get("source") == EVENT_BRIDGE_S3:
        alone = {name: message.get(name) for name in message.names()}
        return (S3Record(_or_rejection(_event_bridge, message), json.dumps(alone)),)
    return tuple(
        S3Record(_or_rejection(_record, record, f"Records[{number}]"), json.dumps({"Records": [record]}))
        for number, record in enumerate(message.get("Records") or ())
    )


def event_body(event: S3Event) -> str:
    """Write a message as S3 would have sent it: of an object that was found without one."""
    stored = {"key": quote_plus(event.key), "size": event.size, "eTag": event.etag, "sequencer": event.sequencer}
    record = {
        "eventSource": _SOURCE,
        "eventName": event.event_name,
        "eventTime": event.time.astimezone(UTC).isoformat() if event.time else None,
        "s3": {"bucket": {"name": event.bucket}, "object": stored},
    }
    return json.dumps({"Records": [record]})


def _or_rejection(read: Callable[..., S3Event], *arguments: Any) -> S3Event | MessageRejectedError:
    try:
        return read(*arguments)
    except MessageRejectedError as rejection:
        return rejection


def _record(value: object, path: str) -> S3Event:
    if not isinstance(value, dict):
        raise MessageRejectedError(
            "field_malformed",
            f"{path} must be an object; it is {kind_of(value)}",
            remedy="See what sends to this queue: it is for S3's own events.",
        )
    record = Fields(value, path)
    if record.get("eventSource") != _SOURCE:
        raise record.malformed("eventSource", _SOURCE)
    s3 = _object(record, "s3")
    stored = _object(s3, "object")
    return S3Event(
        bucket=_bucket(_object(s3, "bucket")),
        # As a form field is: a space is a plus.
        key=unquote_plus(_string(stored, "key")),
        event_name=_string(record, "eventName"),
        size=_bytes(stored),
        etag=_matching(stored, "eTag", _ETAG),
        sequencer=_matching(stored, "sequencer", _SEQUENCER),
        time=record.timestamp("eventTime"),
    )


def _event_bridge(message: Fields) -> S3Event:
    detail = _object(message, "detail")
    stored = _object(detail, "object")
    kind, reason = _string(message, "detail-type").replace(" ", ""), detail.string("reason")
    return S3Event(
        bucket=_bucket(_object(detail, "bucket")),
        key=_string(stored, "key"),  # EventBridge does not encode it
        event_name=f"{kind}:{reason}" if reason else kind,
        size=_bytes(stored),
        etag=_matching(stored, "etag", _ETAG),
        sequencer=_matching(stored, "sequencer", _SEQUENCER),
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


def _bucket(fields: Fields) -> str:
    if len(name := _string(fields, "name")) > _LONGEST_BUCKET:
        raise fields.malformed("name", f"the name of a bucket, of {_LONGEST_BUCKET} characters at most")
    return name


def _matching(stored: Fields, name: str, pattern: re.Pattern[str]) -> str | None:
    """Read what only orders and compares events: one that can't serve for that is as good as none."""
    value = stored.get(name)
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _bytes(stored: Fields) -> int | None:
    size = stored.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _LARGEST else None
