"""The DLCS's own database, read only: what it has registered of images. Both layouts, 2025 and 2026.

It holds no more than `dlcs ledger rebuild` needs; whatever else is to be read there belongs here, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.errors import IngestError, MessageRejectedError, PermanentError, TransientError
from dlcs_assets.domain.redaction import shown_url

_CONNECT_TIMEOUT_SECONDS: Final = 10
_STATEMENT_TIMEOUT_SECONDS: Final = 60
_PAGE: Final = 500
_IMAGE_FAMILY: Final = "I"
_REMEDY: Final = (
    "Check DLCS_DATABASE_URL, and that its user may read the tables Images, ImageDeliveryChannels and "
    "DeliveryChannelPolicies."
)

_IMAGES: Final = """
SELECT "Id", "Origin", "MediaType", "MaxUnauthorised", "Roles", "Created", "Finished", "Ingesting", "Error", "Width",
       "Height", {open_full_max} AS "OpenFullMax"
FROM "Images" WHERE "Family" = :family AND {where}
"""
_CHANNELS: Final = """
SELECT c."ImageId", c."Channel", p."Name"
FROM "ImageDeliveryChannels" c JOIN "DeliveryChannelPolicies" p ON p."Id" = c."DeliveryChannelPolicyId"
WHERE c."ImageId" = ANY(:ids) ORDER BY c."ImageId", c."Id"
"""
_HAS_OPEN_FULL_MAX: Final = """
SELECT EXISTS (SELECT 1 FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = 'Images' AND column_name = 'OpenFullMax')
"""


@dataclass(frozen=True, slots=True)
class DlcsAsset:
    """What the DLCS has on record of an image. `channels` None: it has none; width and height 0: not known.

    `max_unauthorised` is as this system reads it, whichever layout it comes from. `odd` names what of the row has no
    counterpart here.
    """

    asset_id: AssetId
    origin: str
    media_type: str
    channels: tuple[RequestedChannel, ...] | None
    max_unauthorised: int
    roles: tuple[str, ...]
    created: datetime
    finished: datetime | None
    ingesting: bool
    error: str
    width: int
    height: int
    odd: tuple[str, ...] = ()


class DlcsDatabase:
    """Opens the database when it is first asked. Raises the errors of the error tree, codes `dlcs_database_*`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: Engine | None = None
        self._has_open_full_max = False

    def assets(self, image_ids: Sequence[str]) -> dict[str, DlcsAsset]:
        """Return the images among these, of the family of images, by id."""
        return {str(asset.asset_id): asset for asset in self._read('"Id" = ANY(:ids)', {"ids": list(image_ids)})}

    def all_assets(self, *, customer: int | None = None, space: int | None = None) -> Iterator[DlcsAsset]:
        """Yield all images of a customer, of one of its spaces, or all, a page at a time in memory."""
        where = '"Id" > :after'
        where += ' AND "Customer" = :customer' if customer is not None else ""
        where += ' AND "Space" = :space' if space is not None else ""
        after = ""
        while True:
            found, after = self._page(f'{where} ORDER BY "Id" LIMIT {_PAGE}', after, customer, space)
            yield from found
            if not after:
                return

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.dispose()
            self._opened = None

    def _page(self, where: str, after: str, customer: int | None, space: int | None) -> tuple[list[DlcsAsset], str]:
        rows, channels = self._rows(where, {"after": after, "customer": customer, "space": space})
        return list(self._assets(rows, channels)), rows[-1].Id if len(rows) == _PAGE else ""

    def _read(self, where: str, values: dict[str, Any]) -> Iterator[DlcsAsset]:
        yield from self._assets(*self._rows(where, values))

    def _rows(self, where: str, values: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        try:
            with self._engine().connect() as connection:
                self._begin(connection)
                open_full_max = '"OpenFullMax"' if self._has_open_full_max else "NULL"
                query = _IMAGES.format(open_full_max=open_full_max, where=where)
                rows = list(connection.execute(text(query), {**values, "family": _IMAGE_FAMILY}))
                channels = list(connection.execute(text(_CHANNELS), {"ids": [row.Id for row in rows]}))
        except DBAPIError as error:
            raise self._error_of(error) from None  # the driver's text may quote what was bound
        return rows, channels

    def _begin(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
            f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT_SECONDS}s'"
        )
        self._has_open_full_max = bool(connection.exec_driver_sql(_HAS_OPEN_FULL_MAX).scalar())

    def _engine(self) -> Engine:
        if self._opened is None:
            try:
                url = make_url(self._url)
            except (ArgumentError, ValueError):
                raise PermanentError(
                    "dlcs_database_refused",
                    "The address of the DLCS's database is no URL such as postgresql://user:password@host:5432/name",
                    remedy=_REMEDY,
                ) from None
            if url.get_backend_name() != "postgresql":
                raise PermanentError(
                    "dlcs_database_refused",
                    "The address of the DLCS's database is not one of PostgreSQL",
                    remedy=_REMEDY,
                )
            arguments = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS, "application_name": "dlcs-assets"}
            self._opened = create_engine(
                url.set(drivername="postgresql+psycopg2"), connect_args=arguments, pool_size=1, hide_parameters=True
            )
        return self._opened

    def _error_of(self, error: Any) -> IngestError:
        where = shown_url(self._url)
        if isinstance(error, OperationalError):
            cause = f"The DLCS's database at {where} does not answer, or ended the query"
            return TransientError("dlcs_database_unavailable", cause, remedy=_REMEDY)
        cause = f"The DLCS's database at {where} refused the query: {type(error.orig).__name__}"
        return PermanentError("dlcs_database_refused", cause, remedy=_REMEDY)

    @staticmethod
    def _assets(rows: Sequence[Any], channels: Sequence[Any]) -> Iterator[DlcsAsset]:
        of_image: dict[str, list[tuple[str, str]]] = {}
        for row in channels:
            of_image.setdefault(row.ImageId, []).append((row.Channel, row.Name))
        for row in rows:
            try:
                asset_id = AssetId.parse(row.Id)
            except MessageRejectedError:
                continue  # no image of this system can have such an id
            if str(asset_id) == row.Id:
                yield _asset(asset_id, row, of_image.get(row.Id, []))


def _asset(asset_id: AssetId, row: Any, channels: Sequence[tuple[str, str]]) -> DlcsAsset:
    known = {str(channel) for channel in Channel}
    roles = tuple(role for role in (part.strip() for part in row.Roles.split(",")) if role)
    requested = tuple(RequestedChannel(Channel(name), policy) for name, policy in channels if name in known)
    return DlcsAsset(
        asset_id=asset_id,
        origin=row.Origin,
        media_type=row.MediaType,
        channels=requested or None,
        max_unauthorised=_max_unauthorised(row, roles),
        roles=roles,
        created=row.Created,
        finished=row.Finished,
        ingesting=row.Ingesting,
        error=row.Error,
        width=row.Width,
        height=row.Height,
        odd=tuple(f"channel {name}" for name, _ in channels if name not in known),
    )


def _max_unauthorised(row: Any, roles: tuple[str, ...]) -> int:
    """Return the longest edge that is open to everyone. The layout of 2026 has `OpenFullMax` for images with roles."""
    if row.OpenFullMax is None:
        return int(row.MaxUnauthorised)
    return int(row.OpenFullMax) if roles else -1
