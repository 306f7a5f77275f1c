"""What the DLCS's API says of an asset that it changed or deleted, as SNS hands it to a queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

POLICIES = {"iiif-img:default": 1, "iiif-img:use-original": 2, "thumbs:default": 3, "file:none": 4}


def notification(message: dict[str, Any], *, sent: datetime | None = None, **attributes: str) -> dict[str, Any]:
    """Return what SNS hands to a queue."""
    return {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:eu-west-1:1:asset-modified",
        "Message": json.dumps(message),
        "Timestamp": (sent or datetime.now(UTC)).isoformat(),
        "MessageAttributes": {name: {"Type": "String", "Value": value} for name, value in attributes.items()},
    }


def asset(image: str, origin: str, channels: str, **fields: Any) -> dict[str, Any]:
    customer, space, name = image.split("/")
    named = [
        {"channel": channel.partition(":")[0], "deliveryChannelPolicyId": POLICIES[channel]}
        for channel in channels.split(",")
        if channel
    ]
    identity = {"customer": int(customer), "space": int(space), "asset": name}
    return {"id": identity, "origin": origin, "imageDeliveryChannels": named, **fields}
