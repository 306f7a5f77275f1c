"""What a message asks for: an image to ingest, as the DLCS says it, or objects that appeared in a bucket.

Registrations are here too: what is on record of an asset, and how a message changes that. The forms of S3 events are
in `dlcs_assets.domain.s3_event`, the reading of single fields is in `dlcs_assets.domain.json_fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel, parse_requested_channels
from dlcs_assets.domain.envelope import unwrap
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.json_fields import Fields, read_object
from dlcs_assets.domain.media_type import declared_type
from dlcs_assets.domain.s3_event import S3Event, S3Record, holds_s3_events, parse_s3_events
from dlcs_assets.domain.text import shown_text
from dlcs_assets.domain.thumbnails import UNRESTRICTED

__all__ = [
    "AssetFields",
    "BatchReference",
    "IngestMessage",
    "Named",
    "OtherMessage",
    "Registration",
    "S3Event",
    "S3Record",
    "named_in",
    "parse_message",
    "register",
]

T = TypeVar("T")

ASSET_KIND: Final = "IngestAsset"
ADJUNCT_KIND: Final = "IngestAdjunct"

_FORMS = (
    'Send {"id": "2/1/page-1"} for an image that is registered, {"asset": {"id": "2/1/page-1", "origin": ...}} '
    "for any, or an S3 event."
)


@dataclass(frozen=True, slots=True)
class BatchReference:
    """A batch that a message belongs to; `count` is how many images it has, if the message says so."""

    id: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class AssetFields:
    """What a message says about an asset. None: it does not say.

    An empty tuple of `channels` means the defaults, asked for expressly. `of_dlcs`: a DLCS's database says it, and may
    say something else later.
    """

    origin: str | None = None
    media_type: str | None = None
    channels: tuple[RequestedChannel, ...] | None = None
    max_unauthorised: int | None = None
    roles: tuple[str, ...] | None = None
    of_dlcs: bool = False


@dataclass(frozen=True, slots=True)
class IngestMessage:
    """A request to ingest one image. `asset` is None in the short form, which names a registered image only."""

    asset_id: AssetId
    created: datetime | None = None
    batch: BatchReference | None = None
    asset: AssetFields | None = None


@dataclass(frozen=True, slots=True)
class OtherMessage:
    """A message about something else than an asset. `kind` is its ingest type in the DLCS's words."""

    kind: str
    customer: int | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What a message names; of a rejected one, as much as can be read."""

    asset_id: AssetId | None = None
    customer: int | None = None
    batch: BatchReference | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What is on record of an asset. `channels` None: the defaults for its media type.

    An `origin` of "" is not known: the image was found in storage when the ledger was rebuilt from there. `media_type`
    is kept as it was sent; `declared_type` is what it says. `of_dlcs`: it is from a DLCS's database.
    """

    origin: str
    media_type: str | None = None
    channels: tuple[RequestedChannel, ...] | None = None
    max_unauthorised: int = UNRESTRICTED
    roles: tuple[str, ...] = ()
    of_dlcs: bool = False

    @property
    def declared_type(self) -> str | None:
        """The media type; None if there is none, or one that only says that there are bytes."""
        return declared_type(self.media_type)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, for a database column."""
        channels = self.channels and [{"channel": str(item.channel), "policy": item.policy} for item in self.channels]
        return {
            "origin": self.origin,
            "media_type": self.media_type,
            "channels": channels,
            "max_unauthorised": self.max_unauthorised,
            "roles": list(self.roles),
            **({"of_dlcs": True} if self.of_dlcs else {}),
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Registration:
        """Read what `to_json` gave."""
        channels = value["channels"] and tuple(
            RequestedChannel(Channel(item["channel"]), item["policy"]) for item in value["channels"]
        )
        return cls(
            value["origin"],
            value["media_type"],
            channels,
            value["max_unauthorised"],
            tuple(value["roles"]),
            of_dlcs=value.get("of_dlcs", False),
        )


def parse_message(
    body: str, kind: str | None = None, *, asset_kind: str = ASSET_KIND
) -> IngestMessage | OtherMessage | tuple[S3Record, ...]:
    """Read the body of a queue message, in the envelopes of SNS, EventBridge or CloudEvents or without.

    `kind` is the ingest type that its sender gave it, and `asset_kind` that of assets. Without one, a message with an
    `assetId` is about an adjunct of that asset: its `id` may look like that of an asset. S3's own test message gives an
    empty tuple. Raises `MessageRejectedError`, with the field and what was expected.
    """
    if kind is not None and kind != asset_kind:
        return OtherMessage(kind, _owner(body))
    unwrapped = unwrap(read_object(body, "the message", remedy=_FORMS), remedy=_FORMS)
    message = Fields(unwrapped.message)
    if holds_s3_events(message):
        return parse_s3_events(message)
    if kind is None and _is_of_adjunct(message):
        return OtherMessage(ADJUNCT_KIND, _customer(message.get("assetId")))
    if "_type" in message:
        raise MessageRejectedError(
            "legacy_form",
            "the message is an Inversion event (`_type`), which the DLCS has not accepted since 2024-03-22",
            remedy=_FORMS,
        )
    if "id" not in message and "asset" not in message:
        names = shown_text(", ".join(message.names())) or "no fields at all"
        what = f"the message is {unwrapped.envelope}, and what is inside" if unwrapped.envelope else "the message"
        raise MessageRejectedError(
            "unknown_form",
            f"{what} has neither id nor asset; it has {names}",
            remedy=_FORMS,
        )
    asset = message.object("asset")
    return IngestMessage(
        asset_id=_asset_id(message, asset),
        created=message.timestamp("created"),
        batch=_batch(message),
        asset=_asset_fields(asset) if asset is not None else None,
    )


def named_in(body: str) -> Named:
    """Read what a rejected message names, so that its batch can count it. Never raises."""
    message = _if_readable(lambda: _message(body))
    if message is None:
        return Named()
    if _is_of_adjunct(message):
        return Named(customer=_customer(message.get("assetId")))
    asset = _if_readable(lambda: message.object("asset"))
    asset_id = _if_readable(lambda: _asset_id(message, asset))
    named = [fields.get("id") for fields in (asset, message) if fields is not None]
    customer = asset_id.customer if asset_id else next(filter(None, map(_customer, named)), None)
    return Named(asset_id, customer, _if_readable(lambda: _batch(message)) or _batch_without_count(message))


def register(fields: AssetFields, registered: Registration | None) -> Registration:
    """Return the registration that a message leads to: what it omits keeps its registered value.

    A restricted image must not turn public because a message was short. Raises `MessageRejectedError`.
    """
    origin = fields.origin or (registered.origin if registered else None)
    if not origin:
        raise MessageRejectedError(
            "origin_missing",
            "asset.origin is missing, and the image is not registered with one",
            remedy="Send the full form, with asset.origin.",
        )
    before = registered or Registration(origin)
    return Registration(
        origin=origin,
        media_type=fields.media_type or before.media_type,
        channels=before.channels if fields.channels is None else fields.channels or None,
        max_unauthorised=before.max_unauthorised if fields.max_unauthorised is None else fields.max_unauthorised,
        roles=before.roles if fields.roles is None else fields.roles,
        of_dlcs=fields.of_dlcs,
    )


def _message(body: str) -> Fields:
    return Fields(unwrap(read_object(body, "the message", remedy=_FORMS), remedy=_FORMS).message)


def _is_of_adjunct(message: Fields) -> bool:
    return message.get("assetId") is not None


def _owner(body: str) -> int | None:
    """Return the customer of the asset that a message about something else names, if it does."""
    message = _if_readable(lambda: _message(body))
    return _customer(message.get("assetId")) if message and _is_of_adjunct(message) else None


def _asset_id(message: Fields, asset: Fields | None) -> AssetId:
    values = [fields.get("id") for fields in (asset, message) if fields is not None]
    ids = [AssetId.of_json(value) for value in values if value is not None]
    if not ids:
        raise MessageRejectedError(
            "asset_id_missing", f"{'id' if asset is None else 'asset.id'} is missing", remedy=_FORMS
        )
    if len(set(ids)) > 1:
        raise MessageRejectedError(
            "asset_id_contradictory",
            f"asset.id is {ids[0]}, but id is {ids[1]}",
            remedy="Leave out the id next to the asset.",
        )
    return ids[0]


def _batch(message: Fields) -> BatchReference | None:
    batch, plain = message.object("batch"), message.integer("batchId")
    number = plain if batch is None else batch.integer("id")
    if batch is not None and plain is not None and plain != number:
        raise message.malformed("batchId", f"the same as batch.id ({number}), or be left out")
    if number is None or number <= 0:  # 0 is "no batch" to the DLCS
        return None
    count = None if batch is None else batch.integer("count")
    if batch is not None and count is not None and count < 1:
        raise batch.malformed("count", "at least 1")
    return BatchReference(number, count)


def _asset_fields(asset: Fields) -> AssetFields:
    media_type = (asset.string("mediaType") or "").partition(";")[0].rstrip().lower()
    return AssetFields(
        origin=asset.string("origin"),
        # "unknown" is the DLCS's word for not saying.
        media_type=media_type if media_type not in {"", "unknown"} else None,
        channels=parse_requested_channels(asset.get("deliveryChannels")),
        max_unauthorised=asset.integer("maxUnauthorised"),
        roles=asset.strings("roles"),
    )


def _if_readable(read: Callable[[], T | None]) -> T | None:
    try:
        return read()
    except MessageRejectedError:
        return None


def _batch_without_count(message: Fields) -> BatchReference | None:
    batch = _if_readable(lambda: message.object("batch"))
    number = _if_readable(lambda: batch.integer("id")) if batch else None
    return BatchReference(number) if number and number > 0 else None


def _customer(value: object) -> int | None:
    """Read the customer of an id that is no id otherwise."""
    if isinstance(value, dict):
        value = next((part for name, part in value.items() if str(name).lower() == "customer"), None)
    first = str(value).strip("/").partition("/")[0]
    return _if_readable(lambda: AssetId.parse(f"{first}/0/any").customer)
