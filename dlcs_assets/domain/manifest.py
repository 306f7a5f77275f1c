"""A manifest: the images of a batch as a person wrote them down. Everything that is wrong with it is found at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.customers import Customer
from dlcs_assets.domain.delivery import Channel, RequestedChannel, check_requested, parse_requested_channels
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.json_fields import Fields
from dlcs_assets.domain.manifest_text import Mistake, Record, read_records
from dlcs_assets.domain.text import shown_text

T = TypeVar("T")

_BETWEEN_CHANNELS: Final = re.compile(r"[,;|\s]+")
_NO_IMAGES: Final = (
    "there are no images in this manifest. Write a header with id and origin, and a line for each image."
)


@dataclass(frozen=True, slots=True)
class Row:
    """An image of a manifest. None: the manifest does not say, or not so that it can be read."""

    line: int
    customer: int | None
    asset_id: AssetId | None
    origin: str | None = None
    media_type: str | None = None
    channels: tuple[RequestedChannel, ...] | None = None
    max_unauthorised: int | None = None
    roles: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The images of a manifest, and all that is wrong with it, by line. All are of one customer, or it is a mistake."""

    rows: tuple[Row, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def customer(self) -> int | None:
        """The customer of the images; None if none of them can be read."""
        return next((row.customer for row in self.rows if row.customer is not None), None)

    @property
    def asset_ids(self) -> tuple[AssetId, ...]:
        """The images that could be read, in their order, each once."""
        return tuple(dict.fromkeys(row.asset_id for row in self.rows if row.asset_id))


def read_manifest(
    data: bytes, *, customer: int | None = None, space: int | None = None, ids_only: bool = False
) -> Manifest:
    """Read the images. `customer` and `space` complete ids that don't name theirs.

    With `ids_only` nothing but ids is read and judged.
    """
    found = read_records(data)
    mistakes = list(found.mistakes)
    has_origins = found.columns is None or "origin" in found.columns
    if not has_origins and not ids_only:
        mistakes.append(Mistake(1, "there is no column origin, which says where to fetch the images."))
    reader = _Reader(mistakes, customer, space, needs_origin=has_origins)
    rows = tuple(reader.row(record, ids_only=ids_only) for record in found.records)
    mistakes += _repeated(rows)
    mistakes += _of_others(rows)
    if not rows and not mistakes:
        mistakes.append(Mistake(1, _NO_IMAGES))
    return Manifest(rows, tuple(sorted(mistakes, key=lambda mistake: mistake.line)))


def check_manifest(
    manifest: Manifest,
    find: Callable[[int], Customer | None],
    *,
    portal_bucket: str | None,
    own_buckets: Collection[str],
) -> list[Mistake]:
    """Find what can't be ingested as the customers are configured: unknown customers, policies, origins."""
    mistakes: list[Mistake] = []
    unknown: set[int] = set()
    for row in manifest.rows:
        customer = find(row.customer) if row.customer is not None else None
        if customer is None:
            if row.customer is not None and row.customer not in unknown:
                unknown.add(row.customer)  # reported once: it would be the same for every line
                mistakes.append(
                    Mistake(
                        row.line,
                        f"customer {row.customer} is not configured here (customer_not_configured). Add it to the "
                        "customers file, or without one to DLCS_CUSTOMERS.",
                    )
                )
            continue
        try:
            check_requested(row.channels, customer.policies)
        except MessageRejectedError as error:
            mistakes.append(_mistake(row.line, row.asset_id, error))
        try:
            if row.origin:
                customer.origin(row.origin, portal_bucket=portal_bucket, own_buckets=own_buckets)
        except IngestError as error:
            mistakes.append(_mistake(row.line, row.asset_id, error))
    return mistakes


class _Reader:
    """Reads records field by field; what can't be read is noted, and the next field is read nevertheless."""

    def __init__(self, mistakes: list[Mistake], customer: int | None, space: int | None, *, needs_origin: bool) -> None:
        self._mistakes = mistakes
        self._customer = customer
        self._space = space
        self._needs_origin = needs_origin

    def row(self, record: Record, *, ids_only: bool) -> Row:
        fields = Fields(record.values)
        asset_id = self._try(record.line, None, lambda: self._asset_id(fields))
        customer = asset_id.customer if asset_id else self._customer
        if ids_only:
            return Row(record.line, customer, asset_id)

        def read(reading: Callable[[], T | None]) -> T | None:
            return self._try(record.line, asset_id, reading)

        return Row(
            record.line,
            customer,
            asset_id,
            origin=read(lambda: self._origin(fields)),
            media_type=read(lambda: fields.string("mediaType")),
            channels=read(lambda: _channels(fields)),
            max_unauthorised=read(lambda: _max_unauthorised(fields)),
            roles=read(lambda: fields.strings("roles")),
        )

    def _try(self, line: int, asset_id: AssetId | None, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except MessageRejectedError as error:
            self._mistakes.append(_mistake(line, asset_id, error))
        return None

    def _asset_id(self, fields: Fields) -> AssetId:
        name, asset, space = fields.get("id"), fields.string("asset"), fields.integer("space")
        if name is not None and asset is not None:
            raise _wrong("it has both id and asset.", "Leave one of them empty.")
        if name is None and asset is None:
            raise _wrong("it has no id.", "Give an id such as 2/1/page-1, or space and asset.")
        if isinstance(name, dict) or "/" in str(name):
            asset_id = AssetId.of_json(name)
            if space not in {None, asset_id.space}:
                raise _wrong(f"its id {asset_id} is not of space {space}.", "Correct one of them.")
        else:
            asset_id = self._completed(asset or fields.string("id") or "", space)
        if self._customer not in {None, asset_id.customer}:
            raise _wrong(f"{asset_id} is not of customer {self._customer}.", "Correct the id, or --customer.")
        return asset_id

    def _completed(self, name: str, space: int | None) -> AssetId:
        space = self._space if space is None else space
        if self._customer is None or space is None:
            missing = " and ".join(
                word for word, known in (("customer", self._customer), ("space", space)) if known is None
            )
            raise _wrong(
                f"'{shown_text(name)}' does not say its {missing}.",
                "Write ids as customer/space/name, or give --customer and --space.",
            )
        return AssetId(self._customer, space, name)

    def _origin(self, fields: Fields) -> str | None:
        origin = fields.string("origin")
        if origin is None and self._needs_origin:
            raise MessageRejectedError(
                "origin_missing", "it has no origin", remedy="Give the address from which to fetch the image."
            )
        return origin


def _channels(fields: Fields) -> tuple[RequestedChannel, ...] | None:
    value = fields.get("deliveryChannels")
    if isinstance(value, str):
        value = [part for part in _BETWEEN_CHANNELS.split(value) if part]
    requested = parse_requested_channels([_channel(part) for part in value] if isinstance(value, list) else value)
    if any(each.channel is Channel.IIIF_AV for each in requested or ()):
        raise MessageRejectedError(
            "iiif_av_not_supported",
            "the delivery channel iiif-av is not ours",
            remedy="Submit audio and video to the engine that makes them.",
        )
    return requested


def _channel(part: Any) -> Any:
    """Read `thumbs/default`, as `dlcs plan` writes it."""
    if not isinstance(part, str):
        return part
    channel, _, policy = part.partition("/")
    return {"channel": channel, "policy": policy or None}


def _max_unauthorised(fields: Fields) -> int | None:
    found = fields.integer("maxUnauthorised")
    if found is not None and found < -1:
        raise fields.malformed("maxUnauthorised", "-1 (no limit), or a number of pixels")
    return found


def _repeated(rows: tuple[Row, ...]) -> list[Mistake]:
    first: dict[AssetId, int] = {}
    mistakes = []
    for row in rows:
        if row.asset_id and first.setdefault(row.asset_id, row.line) != row.line:
            cause = f"{row.asset_id} is on line {first[row.asset_id]} already. Leave one of them out."
            mistakes.append(Mistake(row.line, cause))
    return mistakes


def _of_others(rows: tuple[Row, ...]) -> list[Mistake]:
    """Find the images that are of another customer than the first."""
    owner = next((row.asset_id.customer for row in rows if row.asset_id), None)
    return [
        Mistake(
            row.line,
            f"{row.asset_id} is of another customer than the images before it ({owner}). Write a manifest for each "
            "customer: a batch is of one.",
        )
        for row in rows
        if row.asset_id and row.asset_id.customer != owner
    ]


def _wrong(cause: str, remedy: str) -> MessageRejectedError:
    return MessageRejectedError("asset_id_malformed", cause.removesuffix("."), remedy=remedy)


def _mistake(line: int, asset_id: AssetId | None, error: MessageRejectedError | IngestError) -> Mistake:
    remedy = "Correct it, or leave it empty." if error.code == "field_malformed" else error.remedy
    which = f"{asset_id}: " if asset_id else ""
    return Mistake(line, f"{which}{error.cause} ({error.code}). {remedy}")
