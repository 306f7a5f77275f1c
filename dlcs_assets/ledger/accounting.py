"""What customers have stored, summed up from the rows of what is stored, and what of their quota is reserved."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Table, func, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.quota import SOURCE_KINDS, Taken, require_room, require_room_for_image
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.details import STAGE_OF_KIND
from dlcs_assets.ledger.tables import claims, images, outcomes

# Raises MessageRejectedError for a registration that can't work; returns the customer's limit of images, or None.
RegistrationCheck = Callable[[AssetId, Registration], int | None]

SOURCE_STAGES: Final = tuple(STAGE_OF_KIND[kind] for kind in SOURCE_KINDS)
_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Usage:
    """What there is of a customer in one of its spaces, or (`space` None) in all of them; sizes in bytes.

    `source` is what counts for the quota: JP2s and originals. `reserved` is how much images in progress may add to it.
    """

    customer: int
    space: int | None
    images: int = 0
    source: int = 0
    thumbnails: int = 0
    reserved: int = 0


class Accounting:
    """Totals of what is stored. Nothing is counted up: every number is a sum or a count of rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def totals(self, customer: int, space: int | None = None) -> Usage:
        """Return what a customer has, in all of its spaces or in one."""
        return total(customer, space, self.by_space(customer, space))

    def check(
        self, asset_id: AssetId, limit: int, new: int, replaces: Collection[ObjectKind], *, counted: int = 0
    ) -> None:
        """Raise `PermanentError`, code `quota_exceeded`, if there is no room at the moment; nothing is reserved."""
        with self._database.read() as connection:
            require_growth(connection, asset_id, limit, new, replaces, counted=counted)

    def by_space(self, customer: int | None = None, space: int | None = None) -> list[Usage]:
        """Return what there is in each space, of one customer or of all, in the order of their numbers."""
        reserving = images.join(claims, claims.c.image_id == images.c.id)
        with self._database.read() as connection:
            counted = _by_space(connection, images, func.count(), _chosen(images, customer, space))
            of_these = _chosen(outcomes, customer, space)
            source = _by_space(connection, outcomes, _bytes(), [*of_these, *_of(SOURCE_STAGES)])
            thumbnails = _by_space(connection, outcomes, _bytes(), [*of_these, *_of((Stage.THUMBNAILS,))])
            reserved = _by_space(
                connection, reserving, func.sum(claims.c.reserved_bytes), _chosen(images, customer, space)
            )
        return [
            Usage(
                *place,
                images=counted.get(place, 0),
                source=source.get(place, 0),
                thumbnails=thumbnails.get(place, 0),
                reserved=reserved.get(place, 0),
            )
            for place in sorted(counted.keys() | source.keys() | thumbnails.keys())
        ]


def total(customer: int, space: int | None, parts: Collection[Usage]) -> Usage:
    """Add up the parts of a customer."""
    return Usage(
        customer,
        space,
        images=sum(part.images for part in parts),
        source=sum(part.source for part in parts),
        thumbnails=sum(part.thumbnails for part in parts),
        reserved=sum(part.reserved for part in parts),
    )


def require_growth(
    connection: Connection,
    asset_id: AssetId,
    limit: int,
    new: int,
    replaces: Collection[ObjectKind],
    *,
    counted: int = 0,
) -> int:
    """Return by how many bytes an image grows if `new` ones take the place of what it has of these kinds.

    `counted` is how much another system counts as stored; the larger number holds. Raises `PermanentError`, code
    `quota_exceeded`, if its customer may not have that much.
    """
    taken, replaced = _taken(connection, asset_id, replaces)
    taken = replace(taken, stored=max(taken.stored, counted))
    return require_room(asset_id, limit, taken, new=new, replaced=replaced)


def within_quota(connection: Connection, check: RegistrationCheck) -> RegistrationCheck:
    """Return the check with the limit applied that it returns: a new image must not be one too many.

    To be used in one transaction, before the image is written. Images of each customer are counted once in it.
    """
    new: dict[int, set[str]] = {}
    before: dict[int, int] = {}

    def check_with_limit(asset_id: AssetId, registration: Registration) -> int | None:
        limit = check(asset_id, registration)
        if limit is None:
            return None
        customer, image_id = asset_id.customer, str(asset_id)
        if image_id in new.get(customer, ()):
            return limit
        if connection.scalar(select(images.c.id).where(images.c.id == image_id)) is not None:
            return limit
        if customer not in before:
            count = select(func.count()).select_from(images).where(images.c.customer == customer)
            before[customer] = connection.scalar(count) or 0
        added = new.setdefault(customer, set())
        require_room_for_image(asset_id, limit, before[customer] + len(added))
        added.add(image_id)
        return limit

    return check_with_limit


def _taken(connection: Connection, asset_id: AssetId, replaces: Collection[ObjectKind]) -> tuple[Taken, int]:
    """Return what the customer of an image has stored and its other images have reserved, and what is to be replaced.

    All in one statement, so from one moment: what others reserve becomes what they store.
    """
    customer, image_id = asset_id.customer, str(asset_id)
    stored = select(_bytes()).where(outcomes.c.customer == customer, *_of(SOURCE_STAGES))
    reserved = select(func.sum(claims.c.reserved_bytes)).where(
        claims.c.customer == customer, claims.c.reserved_bytes > 0, claims.c.image_id != image_id
    )
    replaced = select(_bytes()).where(outcomes.c.image_id == image_id, *_of([STAGE_OF_KIND[kind] for kind in replaces]))
    row = connection.execute(select(*(each.scalar_subquery() for each in (stored, reserved, replaced)))).one()
    return Taken(int(row[0] or 0), int(row[1] or 0)), int(row[2] or 0)


def _by_space(
    connection: Connection, source: FromClause, value: ColumnElement[Any], where: Collection[ColumnElement[bool]]
) -> dict[_Place, int]:
    table = outcomes if source is outcomes else images
    place = (table.c.customer, table.c.space)
    rows = connection.execute(select(*place, value.label("value")).select_from(source).where(*where).group_by(*place))
    return {(row.customer, row.space): int(row.value) for row in rows}


def _chosen(table: Table, customer: int | None, space: int | None) -> list[ColumnElement[bool]]:
    of_customer = [table.c.customer == customer] if customer is not None else []
    return of_customer + ([table.c.space == space] if space is not None else [])


def _bytes() -> ColumnElement[Any]:
    return func.sum(outcomes.c.bytes)


def _of(stages: Collection[Stage]) -> tuple[ColumnElement[bool], ...]:
    return outcomes.c.stage.in_(stages), outcomes.c.bytes.is_not(None)
