"""Envelopes that brokers put round a message: SNS notifications, EventBridge events, CloudEvents in JSON."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.json_fields import kind_of, read_object
from dlcs_assets.domain.text import shown_text

EVENT_BRIDGE_S3: Final = "aws.s3"  # the source of events that are a form of message themselves

_MOST_LAYERS: Final = 4


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The message inside its envelopes. `envelope` names the innermost one that says more than SNS's; None: none."""

    message: dict[str, Any]
    envelope: str | None = None


def unwrap(message: dict[str, Any], *, remedy: str) -> Unwrapped:
    """Take a message out of its envelopes, one inside the other. Raises `MessageRejectedError`."""
    found = Unwrapped(message)
    for _ in range(_MOST_LAYERS):
        inner = _opened(found, remedy)
        if inner is None:
            break
        found = inner
    return found


def _opened(outer: Unwrapped, remedy: str) -> Unwrapped | None:
    """Return what is inside an envelope; None for what is none."""
    message = outer.message
    if "TopicArn" in message and "Message" in message:
        payload = message["Message"]
        what = "Message of the SNS notification"
        if not isinstance(payload, str):
            raise MessageRejectedError("not_json", f"{what} is {kind_of(payload)}, not a string of JSON", remedy=remedy)
        return Unwrapped(read_object(payload, what, remedy=remedy), outer.envelope)
    if "detail-type" in message and "detail" in message and message.get("source") != EVENT_BRIDGE_S3:
        envelope = f"an EventBridge event {_origin(message, 'detail-type')}"
        return Unwrapped(_object(message["detail"], f"detail of {envelope}", remedy), envelope)
    if "specversion" in message and "type" in message:
        envelope = f"a CloudEvents event {_origin(message, 'type')}"
        return Unwrapped(_object(_data(message), f"data of {envelope}", remedy), envelope)
    return None


def _data(event: dict[str, Any]) -> object:
    """Return the data of a CloudEvents event, which may be in base64. What is not comes back as it is."""
    encoded = event.get("data_base64")
    if "data" in event or not isinstance(encoded, str):
        return event.get("data")
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return encoded


def _object(payload: object, what: str, remedy: str) -> dict[str, Any]:
    if isinstance(payload, str):
        return read_object(payload, what, remedy=remedy)
    if not isinstance(payload, dict):
        raise MessageRejectedError("not_an_object", f"{what} is {kind_of(payload)}, not a JSON object", remedy=remedy)
    return payload


def _origin(event: dict[str, Any], type_field: str) -> str:
    kind, source = (_shown(event.get(name)) for name in (type_field, "source"))
    return f"of type {kind} from {source}"


def _shown(value: object) -> str:
    return f"'{shown_text(value)}'" if isinstance(value, str) else kind_of(value)
