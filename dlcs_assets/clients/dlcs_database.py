"""The DLCS's own database: its customers, with what they may do, and its images. In both layouts.

Whatever is to be read there belongs here, and no more than the tables and columns that are needed. What is written
there is in `dlcs_assets.clients.dlcs_ends`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    TableClause,
    column,
    create_engine,
    func,
    null,
    select,
    table,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import NO_POLICY, Channel, RequestedChannel
from dlcs_assets.domain.errors import IngestError, MessageRejectedError, PermanentError, TransientError
from dlcs_assets.domain.ingest_request import AssetFields
from dlcs_assets.domain.media_type import declared_type
from dlcs_assets.domain.redaction import shown_url

NEWEST_KNOWN: Final = "20260812155535_Fixup StubAsset spaces"  # the last migration that this module was written for

INTERRUPTED: Final = "dlcs_database_interrupted"  # code of an error

_CONNECT_TIMEOUT_SECONDS: Final = 10
_STATEMENT_TIMEOUT_SECONDS: Final = 60
_LOCK_TIMEOUT_SECONDS: Final = 10
# A deadlock, a transaction that could not be serialised, a lock or a statement that took too long.
_INTERRUPTIONS: Final = frozenset({"40P01", "40001", "55P03", "57014"})
_PAGE: Final = 500
_IMAGE_FAMILY: Final = "I"
_REMEDY: Final = (
    "Check DLCS_DATABASE_URL, and that its user may use the tables of the DLCS that are used (docs/settings.md)."
)
# The DLCS makes nothing of an asset without channels.
_NO_CHANNEL: Final = (RequestedChannel(Channel.NONE, NO_POLICY),)


def table_of(name: str, *columns: str) -> TableClause:
    """Return a table with the columns of it that are used."""
    return table(name, *map(column, columns))


_IMAGES: Final = table_of(
    "Images", "Id", "Customer", "Space", "Family", "Origin", "MediaType", "MaxUnauthorised", "Roles", "Created",
    "Finished", "Ingesting", "Error", "Width", "Height",
)  # fmt: skip
_CHANNELS: Final = table_of("ImageDeliveryChannels", "Id", "ImageId", "Channel", "DeliveryChannelPolicyId")
_POLICIES: Final = table_of("DeliveryChannelPolicies", "Id", "Customer", "Channel", "Name", "System", "PolicyData")
_DEFAULTS: Final = table_of("DefaultDeliveryChannels", "Customer", "Space", "MediaType", "DeliveryChannelPolicyId")
_STRATEGIES: Final = table_of(
    "CustomerOriginStrategies", "Id", "Customer", "Regex", "Strategy", "Credentials", "Optimised", "Order"
)
_CUSTOMERS: Final = table_of("Customers", "Id")
_STORED: Final = table_of("CustomerStorage", "Customer", "Space", "StoragePolicy", "TotalSizeOfStoredImages")
_LIMITS: Final = table_of(
    "StoragePolicies", "Id", "MaximumNumberOfStoredImages", "MaximumTotalSizeOfStoredImages"
)  # fmt: skip
_HISTORY: Final = table_of("__EFMigrationsHistory", "MigrationId")
OF_IMAGES: Final = (_IMAGES, _CHANNELS, _POLICIES)
_OF_CUSTOMERS: Final = (_CUSTOMERS, _STRATEGIES, _POLICIES, _DEFAULTS, _STORED, _LIMITS, _HISTORY)

# From the catalog, which has what the user may not read as well.
_COLUMNS: Final = text("""
SELECT c.relname AS "table", a.attname AS "column", a.attnotnull AS required,
       has_column_privilege(c.oid, a.attnum, 'SELECT') AS "SELECT",
       has_column_privilege(c.oid, a.attnum, 'INSERT') AS "INSERT",
       has_column_privilege(c.oid, a.attnum, 'UPDATE') AS "UPDATE"
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relname = ANY(:tables) AND c.relkind IN ('r', 'p', 'v') AND pg_table_is_visible(c.oid)
""")


@dataclass(frozen=True, slots=True)
class Layout:
    """What of the tables differs between versions of the DLCS.

    `migration` is the newest that was applied, "" if it was not read. `has_open_full_max`: images with roles have the
    longest edge that is open to everyone in `OpenFullMax`, and any image may have a `MaxWidth`. `null_is_all`: rows of
    a whole customer have no space, and space 0 is one like the others; in 2025 it stood for the whole customer.
    """

    migration: str
    has_open_full_max: bool
    null_is_all: bool

    @property
    def is_newer(self) -> bool:
        """Whether the database is of a DLCS that this software does not know."""
        return self.migration[:14] > NEWEST_KNOWN[:14]

    def __str__(self) -> str:
        return f"layout of {'2026' if self.has_open_full_max else '2025'}, migration '{self.migration}'"


@dataclass(frozen=True, slots=True)
class DlcsAsset:
    """What the DLCS has on record of an image. `channels` None: it has none; width and height 0: not known.

    `max_unauthorised` is as this system reads it, whichever layout it comes from; `max_width` is the longest edge that
    anyone may see, None without a limit. `odd` names what of the row has no counterpart here.
    """

    asset_id: AssetId
    origin: str
    media_type: str
    channels: tuple[RequestedChannel, ...] | None
    max_unauthorised: int
    max_width: int | None
    roles: tuple[str, ...]
    created: datetime
    finished: datetime | None
    ingesting: bool
    error: str
    width: int
    height: int
    odd: tuple[str, ...] = ()

    @property
    def fields(self) -> AssetFields:
        """What a full message would say of it."""
        return AssetFields(
            origin=self.origin,
            media_type=declared_type(self.media_type),
            channels=self.channels or _NO_CHANNEL,
            max_unauthorised=self.max_unauthorised,
            roles=self.roles,
            of_dlcs=True,
        )


@dataclass(frozen=True, slots=True)
class DlcsStrategy:
    """A row of a customer's origin strategies. `credentials` say where they are, or are what no one may see."""

    id: str
    customer: int
    order: int
    regex: str
    strategy: str
    credentials: str = field(repr=False)
    optimised: bool


@dataclass(frozen=True, slots=True)
class DlcsPolicy:
    """A row of delivery channel policies. `is_system`: it is every customer's. `data` are a thumbs policy's sizes."""

    id: int
    customer: int
    channel: str
    name: str
    is_system: bool
    data: str | None


@dataclass(frozen=True, slots=True)
class DlcsDefault:
    """A default delivery channel. `space` None: of all the customer's spaces."""

    customer: int
    space: int | None
    media_type: str
    channel: str
    policy: str


@dataclass(frozen=True, slots=True)
class DlcsStorage:
    """A customer's limits of images and bytes, None if the policy named has no row; and the bytes it has stored."""

    customer: int
    policy: str
    max_images: int | None
    max_bytes: int | None
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class DlcsConfiguration:
    """All rows about customers, as they were at one moment."""

    layout: Layout
    customers: tuple[int, ...]
    strategies: tuple[DlcsStrategy, ...]
    policies: tuple[DlcsPolicy, ...]
    defaults: tuple[DlcsDefault, ...]
    storage: tuple[DlcsStorage, ...]


class DlcsDatabase:
    """Opens the database when it is first asked. Raises the errors of the error tree, codes `dlcs_database_*`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: Engine | None = None

    def __str__(self) -> str:
        return f"the DLCS's database at {shown_url(self._url)}"

    def assets(self, image_ids: Sequence[str], *, of_any_family: bool = False) -> dict[str, DlcsAsset]:
        """Return the images among these by id: of the family of images, or of any."""
        chosen = _IMAGES.c.Id.in_(image_ids)
        rows, channels = self._rows(chosen if of_any_family else chosen & _is_image(), limit=None)
        return {str(asset.asset_id): asset for asset in _assets(rows, channels)}

    def all_assets(self, *, customer: int | None = None, space: int | None = None) -> Iterator[DlcsAsset]:
        """Yield all images of a customer, of one of its spaces, or all, a page at a time in memory."""
        chosen = _is_image()
        if customer is not None:
            chosen &= _IMAGES.c.Customer == customer
        if space is not None:
            chosen &= _IMAGES.c.Space == space
        after = ""
        while True:
            rows, channels = self._rows(chosen & (_IMAGES.c.Id > after), limit=_PAGE)
            yield from _assets(rows, channels)
            if len(rows) < _PAGE:
                return
            after = rows[-1].Id

    def configuration(self) -> DlcsConfiguration:
        """Return what there is about customers."""
        with self.reading(_OF_CUSTOMERS) as (connection, layout):
            return DlcsConfiguration(
                layout,
                tuple(connection.scalars(select(_CUSTOMERS.c.Id).order_by(_CUSTOMERS.c.Id))),
                _strategies(connection),
                _policies(connection),
                _defaults(connection, layout),
                _storage(connection, layout),
            )

    def check_images(self) -> None:
        """Raise what keeps images from being read."""
        with self.reading(OF_IMAGES):
            pass

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.dispose()
            self._opened = None

    def _rows(self, chosen: ColumnElement[bool], *, limit: int | None) -> tuple[Sequence[Any], Sequence[Any]]:
        with self.reading(OF_IMAGES) as (connection, layout):
            rows = connection.execute(_select_images(layout).where(chosen).order_by(_IMAGES.c.Id).limit(limit)).all()
            return rows, _channels(connection, rows)

    @contextmanager
    def reading(self, tables: Collection[TableClause]) -> Iterator[tuple[Connection, Layout]]:
        """Yield a connection that cannot write and sees one moment, and the layout of what it sees."""
        try:
            with self._engine().connect() as connection:
                connection.exec_driver_sql(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
                    f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT_SECONDS}s'"
                )
                yield connection, self._layout(connection, tables)
        except DBAPIError as error:
            raise self._error_of(error) from None  # the driver's text may quote what was bound

    @contextmanager
    def writing(
        self, tables: Collection[TableClause], rights: Mapping[TableClause, Sequence[str]]
    ) -> Iterator[tuple[Connection, Layout]]:
        """Yield a connection in a transaction, which is committed at the end, and the layout that it finds.

        `rights` are what is done to each of the tables: INSERT, UPDATE.
        """
        try:
            with self._engine().begin() as connection:
                connection.exec_driver_sql(
                    f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT_SECONDS}s';"
                    f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"
                )
                yield connection, self._layout(connection, tables, rights)
        except DBAPIError as error:
            raise self._error_of(error) from None

    def _layout(
        self,
        connection: Connection,
        tables: Collection[TableClause],
        rights: Mapping[TableClause, Sequence[str]] | None = None,
    ) -> Layout:
        """Return the layout. Raises `PermanentError` that names each table, column and right that is missing."""
        names = [each.name for each in tables]
        rows = connection.execute(_COLUMNS, {"tables": [*names, _IMAGES.name]})
        there = {(row.table, row.column): row for row in rows}
        found = {name for name, _ in there}.intersection(names)
        if not found:
            raise self._refused(f"is not that of a DLCS, or its user may not use its schema: no {_listed(names)}")
        if absent := [name for name in names if name not in found]:
            raise self._refused(f"lacks the table {_listed(absent)}")
        needed = [(each.name, name) for each in tables for name in each.c.keys()]  # noqa: SIM118 (it is no dict)
        if lacking := [f"{name}.{of_table}" for name, of_table in needed if (name, of_table) not in there]:
            raise self._refused(f"lacks the column {_listed(lacking)}")
        self._require(there, needed, "SELECT")
        for right in ("INSERT", "UPDATE"):
            written = [each for each, wanted in (rights or {}).items() if right in wanted]
            columns = [(each.name, name) for each in written for name in each.c.keys()]  # noqa: SIM118 (as above)
            self._require(there, columns, right)
        migration = connection.scalar(select(func.max(_HISTORY.c.MigrationId))) if _HISTORY in tables else None
        space = there.get((_STORED.name, "Space"))
        return Layout(
            migration or "",
            has_open_full_max=(_IMAGES.name, "OpenFullMax") in there,
            null_is_all=space is not None and not space.required,
        )

    def _require(self, there: Mapping[tuple[str, str], Any], needed: Sequence[tuple[str, str]], right: str) -> None:
        hidden = [(name, of_table) for name, of_table in needed if not getattr(there[name, of_table], right)]
        if hidden:
            partly = {name for name, of_table in needed if getattr(there[name, of_table], right)}
            missing = dict.fromkeys(f"{name}.{of_table}" if name in partly else name for name, of_table in hidden)
            verb = "read" if right == "SELECT" else right
            raise self._refused(f"does not let its user {verb} {_listed(list(missing))}")

    def _engine(self) -> Engine:
        if self._opened is None:
            arguments = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS, "application_name": "dlcs-assets"}
            self._opened = create_engine(
                self._driver(), connect_args=arguments, pool_size=1, pool_pre_ping=True, hide_parameters=True
            )
        return self._opened

    def _driver(self) -> URL:
        try:
            url = make_url(self._url)
        except (ArgumentError, ValueError):
            raise PermanentError(
                "dlcs_database_refused",
                "The address of the DLCS's database is no URL such as postgresql://user:password@host:5432/name",
                remedy=_REMEDY,
            ) from None
        if url.get_backend_name() != "postgresql":
            cause = "The address of the DLCS's database is not one of PostgreSQL"
            raise PermanentError("dlcs_database_refused", cause, remedy=_REMEDY)
        return url.set(drivername="postgresql+psycopg2")

    def _error_of(self, error: DBAPIError) -> IngestError:
        if not isinstance(error, OperationalError):
            return self._refused(f"refused the query: {type(error.orig).__name__}")
        if error.orig is not None and getattr(error.orig, "pgcode", None) in _INTERRUPTIONS:
            cause = f"The DLCS's database at {shown_url(self._url)} ended the query: {type(error.orig).__name__}"
            return TransientError(INTERRUPTED, cause, remedy=_REMEDY)
        said = str(error.orig)
        if "authentication failed" in said or "does not exist" in said:
            return self._refused("refused the login: its user, password or name is wrong")
        cause = f"The DLCS's database at {shown_url(self._url)} does not answer"
        return TransientError("dlcs_database_unavailable", cause, remedy=_REMEDY)

    def _refused(self, what: str) -> PermanentError:
        cause = f"The DLCS's database at {shown_url(self._url)} {what}"
        return PermanentError("dlcs_database_refused", cause, remedy=_REMEDY)


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


def locked_asset(connection: Connection, layout: Layout, asset_id: AssetId) -> DlcsAsset | None:
    """Return an image as it stays until the end of the transaction; None if there is none."""
    query = _select_images(layout).where(_IMAGES.c.Id == str(asset_id))
    # What is inserted meanwhile may refer to the row, as to one that is only read.
    rows = connection.execute(query.with_for_update(key_share=True)).all()
    return next(_assets(rows, _channels(connection, rows)), None)


def _select_images(layout: Layout) -> Select[Any]:
    optional = (
        column(name) if layout.has_open_full_max else null().label(name) for name in ("OpenFullMax", "MaxWidth")
    )
    return select(*_IMAGES.c, *optional)


def _channels(connection: Connection, rows: Sequence[Any]) -> Sequence[Any]:
    query = (
        select(_CHANNELS.c.ImageId, _CHANNELS.c.Channel, _POLICIES.c.Name)
        .join_from(_CHANNELS, _POLICIES, _POLICIES.c.Id == _CHANNELS.c.DeliveryChannelPolicyId)
        .where(_CHANNELS.c.ImageId.in_([row.Id for row in rows]))
        .order_by(_CHANNELS.c.ImageId, _CHANNELS.c.Id)
    )
    return connection.execute(query).all()


def _is_image() -> ColumnElement[bool]:
    return _IMAGES.c.Family == _IMAGE_FAMILY


def _strategies(connection: Connection) -> tuple[DlcsStrategy, ...]:
    rows = connection.execute(select(_STRATEGIES).order_by(_STRATEGIES.c.Order, _STRATEGIES.c.Id))
    return tuple(
        DlcsStrategy(row.Id, row.Customer, row.Order, row.Regex, row.Strategy, row.Credentials, row.Optimised)
        for row in rows
    )


def _policies(connection: Connection) -> tuple[DlcsPolicy, ...]:
    rows = connection.execute(select(_POLICIES).order_by(_POLICIES.c.Id))
    return tuple(DlcsPolicy(row.Id, row.Customer, row.Channel, row.Name, row.System, row.PolicyData) for row in rows)


def _defaults(connection: Connection, layout: Layout) -> tuple[DlcsDefault, ...]:
    joined = _DEFAULTS.join(_POLICIES, _POLICIES.c.Id == _DEFAULTS.c.DeliveryChannelPolicyId)
    columns = (_DEFAULTS.c.Customer, _DEFAULTS.c.Space, _DEFAULTS.c.MediaType, _POLICIES.c.Channel, _POLICIES.c.Name)
    rows = connection.execute(select(*columns).select_from(joined).order_by(*columns))
    return tuple(
        DlcsDefault(
            row.Customer,
            None if row.Space == 0 and not layout.null_is_all else row.Space,
            row.MediaType,
            row.Channel,
            row.Name,
        )
        for row in rows
    )


def _storage(connection: Connection, layout: Layout) -> tuple[DlcsStorage, ...]:
    of_all = _STORED.c.Space.is_(None) if layout.null_is_all else _STORED.c.Space == 0
    joined = _STORED.outerjoin(_LIMITS, _LIMITS.c.Id == func.coalesce(_STORED.c.StoragePolicy, ""))
    rows = connection.execute(
        select(*_STORED.c, *(each for each in _LIMITS.c if each.name != "Id"))
        .select_from(joined)
        .where(of_all)
        .order_by(_STORED.c.Customer)
    )
    return tuple(
        DlcsStorage(
            row.Customer,
            row.StoragePolicy or "",
            row.MaximumNumberOfStoredImages,
            row.MaximumTotalSizeOfStoredImages,
            row.TotalSizeOfStoredImages,
        )
        for row in rows
    )


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
        max_width=row.MaxWidth or None,
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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
