"""What the DLCS's API says of assets that it changed or deleted: notifications by way of SNS.

The shapes are those of the DLCS's asset-modified topic. Of an asset's delivery channels they name the policies by
number only; the numbers of the policies that every installation has are known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import NO_POLICY, USE_ORIGINAL, Channel, RequestedChannel
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import AssetFields
from dlcs_assets.domain.json_fields import Fields, read_object

NOTIFIED: Final = "engineNotified"
_POLICIES: Final = {
    1: "default",
    2: USE_ORIGINAL,
    3: "default",
    4: NO_POLICY,
    5: "default-audio",
    6: "default-video",
    7: NO_POLICY,
}
_REMEDY: Final = "Send what the DLCS's asset-modified topic sends: assetAfterUpdate, or asset with deleteFrom."


@dataclass(frozen=True, slots=True)
class AssetUpdated:
    """An asset is registered otherwise than before. `fields` is what it is now.

    `engine_notified`: the change was one that ingest is needed for. `roles_changed`: who may see it has changed.
    """

    asset_id: AssetId
    sent_at: datetime | None
    fields: AssetFields
    engine_notified: bool
    roles_changed: bool


@dataclass(frozen=True, slots=True)
class AssetDeleted:
    """An asset is deleted. `delete_from` are the further places to delete it from, in lower case, such as `cdn`."""

    asset_id: AssetId
    sent_at: datetime | None
    customer_name: str | None
    delete_from: frozenset[str]
    channels: tuple[Channel, ...]


def parse_modified(
    body: str, attributes: Mapping[str, str], sent_at: datetime | None, *, reads_channels: bool = True
) -> AssetUpdated | AssetDeleted | None:
    """Read a notification, in SNS's wrapping or without; None for one of a creation. Raises `MessageRejectedError`.

    `attributes` and `sent_at` are those of the queue's message, which count where SNS has not wrapped it. Without
    `reads_channels` those of an asset that was changed are left out: the caller knows where their policies have names.
    """
    outer = read_object(body, "the notification", remedy=_REMEDY)
    wrapped = "TopicArn" in outer and isinstance(outer.get("Message"), str)
    message = Fields(
        read_object(outer["Message"], "Message of the SNS notification", remedy=_REMEDY) if wrapped else outer
    )
    if wrapped:
        attributes = _attributes(outer)
        sent_at = Fields(outer).timestamp("Timestamp") or sent_at
    if "assetBeforeUpdate" in message or "assetAfterUpdate" in message:
        return _updated(message, attributes, sent_at, reads_channels=reads_channels)
    asset = message.object("asset")
    if asset is None:
        raise MessageRejectedError(
            "unknown_notification", "the notification has neither assetAfterUpdate nor asset", remedy=_REMEDY
        )
    if attributes.get("messageType", "").lower() == "create" or "deleteFrom" not in message:
        return None
    name = message.object("customerPathElement")
    return AssetDeleted(
        asset_id=_asset_id(asset),
        sent_at=sent_at,
        customer_name=name.string("name") if name else None,
        delete_from=frozenset(place.lower() for place in message.strings("deleteFrom") or ()),
        channels=tuple(channel for channel, _ in _channels(asset) or ()),
    )


def _updated(
    message: Fields, attributes: Mapping[str, str], sent_at: datetime | None, *, reads_channels: bool
) -> AssetUpdated:
    before, after = message.object("assetBeforeUpdate"), message.object("assetAfterUpdate")
    if before is None or after is None:
        raise MessageRejectedError(
            "unknown_notification",
            f"the notification has no {'assetBeforeUpdate' if before is None else 'assetAfterUpdate'}",
            remedy=_REMEDY,
        )
    if _asset_id(before) != _asset_id(after):
        raise MessageRejectedError("asset_id_contradictory", "the asset has two ids, before and after", remedy=_REMEDY)
    roles_before, roles_after = before.strings("roles") or (), after.strings("roles") or ()
    media_type = (after.string("mediaType") or "").partition(";")[0].rstrip().lower()
    fields = AssetFields(
        origin=after.string("origin"),
        media_type=media_type if media_type not in {"", "unknown", "image/unknown"} else None,
        channels=_requested(after) if reads_channels else None,
        max_unauthorised=after.integer("maxUnauthorised"),
        roles=roles_after,
    )
    return AssetUpdated(
        asset_id=_asset_id(after),
        sent_at=sent_at,
        fields=fields,
        engine_notified=attributes.get(NOTIFIED, "").lower() == "true",
        roles_changed=set(roles_before) != set(roles_after),
    )


def _requested(asset: Fields) -> tuple[RequestedChannel, ...] | None:
    channels = _channels(asset)
    if channels is None:
        return None
    if not channels:  # an asset without any delivers nothing
        return (RequestedChannel(Channel.NONE, None),)
    requested = []
    for channel, number in channels:
        if number is not None and number not in _POLICIES:
            raise MessageRejectedError(
                "policy_number_unknown",
                f"the policy of {channel} is number {number}, whose name is known to the DLCS's database only",
                remedy="Send a full ingest message, which names the policies, for this image.",
            )
        requested.append(RequestedChannel(channel, _POLICIES[number] if number is not None else None))
    return tuple(requested)


def _channels(asset: Fields) -> tuple[tuple[Channel, int | None], ...] | None:
    if asset.get("imageDeliveryChannels") is None:
        return None
    found = []
    for item in asset.objects("imageDeliveryChannels"):
        name = item.string("channel")
        if name not in set(Channel):
            raise item.malformed("channel", f"one of {', '.join(Channel)}")
        found.append((Channel(name), item.integer("deliveryChannelPolicyId")))
    return tuple(found)


def _asset_id(asset: Fields) -> AssetId:
    value = asset.get("id")
    if value is None:
        raise MessageRejectedError("asset_id_missing", "the asset of the notification has no id", remedy=_REMEDY)
    return AssetId.of_json(value)


def _attributes(outer: Mapping[str, Any]) -> dict[str, str]:
    found = outer.get("MessageAttributes")
    if not isinstance(found, dict):
        return {}
    return {
        str(name): value["Value"]
        for name, value in found.items()
        if isinstance(value, dict) and isinstance(value.get("Value"), str)
    }
