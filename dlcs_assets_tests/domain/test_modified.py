"""Notifications of the DLCS's API about assets that it changed or deleted, and the paths that a CDN knows them by."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.invalidation import paths_to_invalidate
from dlcs_assets.domain.modified import AssetDeleted, AssetUpdated, parse_modified

ASSET = AssetId(1, 99, "foo")
SENT = datetime(2026, 5, 4, 12, tzinfo=UTC)


def asset(*channels: tuple[str, int], **fields: Any) -> dict[str, Any]:
    named = [{"channel": channel, "deliveryChannelPolicyId": policy} for channel, policy in channels]
    return {"id": {"customer": 1, "space": 99, "asset": "foo"}, "imageDeliveryChannels": named, **fields}


def wrapped(message: dict[str, Any], **attributes: str) -> str:
    """Return a message in the envelope of SNS."""
    return json.dumps(
        {
            "Type": "Notification",
            "TopicArn": "arn:aws:sns:eu-west-1:1:asset-modified",
            "Message": json.dumps(message),
            "Timestamp": "2026-05-04T12:00:00.000Z",
            "MessageAttributes": {name: {"Type": "String", "Value": value} for name, value in attributes.items()},
        }
    )


def updated(before: dict[str, Any], after: dict[str, Any], **attributes: str) -> AssetUpdated:
    found = parse_modified(wrapped({"assetBeforeUpdate": before, "assetAfterUpdate": after}, **attributes), {}, None)
    assert isinstance(found, AssetUpdated)
    return found


def test_an_update_says_what_the_asset_is_now() -> None:
    found = updated(
        asset(("iiif-img", 1), origin="https://example.org/a.tif"),
        asset(
            ("iiif-img", 2),
            ("thumbs", 3),
            ("file", 4),
            origin="https://example.org/b.tif",
            mediaType="image/TIFF; x=y",
            maxUnauthorised=400,
            roles="staff, students",
        ),
        messageType="Update",
        engineNotified="True",
    )
    assert (found.asset_id, found.sent_at, found.engine_notified, found.roles_changed) == (ASSET, SENT, True, True)
    fields = found.fields
    assert (fields.origin, fields.media_type) == ("https://example.org/b.tif", "image/tiff")
    assert (fields.max_unauthorised, fields.roles) == (400, ("staff", "students"))
    assert fields.channels == (
        RequestedChannel(Channel.IIIF_IMG, "use-original"),
        RequestedChannel(Channel.THUMBS, "default"),
        RequestedChannel(Channel.FILE, "none"),
    )


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [(None, None, False), ("", None, False), ("", "", False), ("", "new role", True), ("a,b", "b, a", False)],
)
def test_blank_roles_are_no_roles(before: str | None, after: str | None, changed: bool) -> None:
    assert updated(asset(roles=before), asset(roles=after)).roles_changed is changed


def test_an_asset_that_lost_all_its_channels_delivers_nothing() -> None:
    found = updated(asset(("thumbs", 3)), asset())
    assert found.fields.channels == (RequestedChannel(Channel.NONE, None),)


def test_a_policy_known_only_by_number_is_refused() -> None:
    """Notifications have numbers of policies; one that is not configured must not become another policy."""
    with pytest.raises(MessageRejectedError, match=r"policy of thumbs is number 17") as refused:
        updated(asset(("thumbs", 3)), asset(("thumbs", 17)))
    assert refused.value.code == "policy_number_unknown"


def test_a_deletion_says_where_else_to_delete() -> None:
    message = {
        "asset": asset(("iiif-img", 1)),
        "customerPathElement": {"id": 1, "name": "someName"},
        "deleteFrom": ["Cdn", "internalCache"],
    }
    found = parse_modified(wrapped(message, messageType="Delete"), {}, None)
    assert found == AssetDeleted(ASSET, SENT, "someName", frozenset({"cdn", "internalcache"}), (Channel.IIIF_IMG,))


def test_raw_delivery_is_read_with_the_attributes_of_the_queue() -> None:
    body = json.dumps({"assetBeforeUpdate": asset(), "assetAfterUpdate": asset()})
    found = parse_modified(body, {"engineNotified": "True"}, SENT)
    assert isinstance(found, AssetUpdated)
    assert (found.engine_notified, found.sent_at) == (True, SENT)


def test_a_creation_is_nothing_to_do() -> None:
    assert parse_modified(wrapped({"asset": asset()}, messageType="Create"), {}, None) is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "not_json"),
        ("[]", "not_an_object"),
        ('{"not-id": "foo"}', "unknown_notification"),
        ('{"assetAfterUpdate": {"id": "1/99/foo"}}', "unknown_notification"),
        ('{"assetBeforeUpdate": {"not-id": 1}, "assetAfterUpdate": {"id": "1/99/foo"}}', "asset_id_missing"),
        ('{"assetBeforeUpdate": {"id": "1/99/a"}, "assetAfterUpdate": {"id": "1/99/b"}}', "asset_id_contradictory"),
        ('{"asset": {"id": "1/99"}, "deleteFrom": []}', "asset_id_malformed"),
        (
            '{"asset": {"id": "1/99/a", "imageDeliveryChannels": [{"channel": "x"}]}, "deleteFrom": []}',
            "field_malformed",
        ),
        ('{"TopicArn": "t", "Message": "{"}', "not_json"),
    ],
)
def test_an_invalid_notification_is_refused_with_its_reason(body: str, code: str) -> None:
    with pytest.raises(MessageRejectedError) as refused:
        parse_modified(body, {}, None)
    assert refused.value.code == code


def test_without_channels_only_manifests_are_invalidated() -> None:
    assert paths_to_invalidate(ASSET, ()) == (
        "/iiif-manifest/1/99/foo",
        "/iiif-manifest/v2/1/99/foo",
        "/iiif-manifest/v3/1/99/foo",
    )


def test_all_paths_are_invalidated_by_number_and_by_name() -> None:
    paths = paths_to_invalidate(ASSET, [Channel.IIIF_IMG, Channel.IIIF_AV, Channel.FILE], "someName")
    assert {
        "/iiif-img/1/99/foo/*",
        "/iiif-img/v2/1/99/foo/*",
        "/iiif-img/v3/1/99/foo/*",
        "/thumbs/1/99/foo/*",
        "/file/1/99/foo",
        "/iiif-av/1/99/foo/*",
        "/iiif-img/someName/99/foo/*",
        "/iiif-manifest/v3/someName/99/foo",
    } <= set(paths)
    assert len(paths) == len(set(paths)) == 2 * (6 + 1 + 1 + 3)
