"""Events that S3 sends for objects of a bucket, as the queue of uploads delivers them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus

from dlcs_testing.harness import System


def record(bucket: str, key: str, *, name: str = "ObjectCreated:Put", **stored: Any) -> dict[str, Any]:
    """Return a record as S3 writes it."""
    return {
        "eventSource": "aws:s3",
        "eventName": name,
        "eventTime": "2026-11-22T10:00:00.000Z",
        "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key), **stored}},
    }


def event_bridge(bucket: str, key: str, **stored: Any) -> dict[str, Any]:
    """Return an event as EventBridge writes it."""
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-11-22T10:00:00Z",
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, **stored}, "reason": "PutObject"},
    }


def send_records(system: System, *records: dict[str, Any]) -> None:
    """Send an event with the records to the queue of uploads."""
    send(system, {"Records": list(records)})


def send(system: System, *messages: dict[str, Any]) -> None:
    """Send messages to the queue of uploads."""
    system.send(*messages, queue=system.settings.uploads_queue_url)
