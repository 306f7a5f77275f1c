"""What the ledger says of images and their objects, to be compared with S3; and changing that to what S3 has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, func, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import UNFINISHED
from dlcs_assets.domain.results import ObjectRecord, StageResult
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import recorded_results
from dlcs_assets.ledger.tables import images, outcomes, requests, tombstones
from dlcs_assets.ledger.writes import put_results, put_transient

PAGE: Final = 200  # images at a time
FOUND: Final = "found in storage"  # in place of the run that made a result


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the ledger says of an image. `ended_at` is when its last request ended, None while one has not.

    `requests` are the ids of those that have not ended.
    """

    asset_id: AssetId
    is_registered: bool = False
    is_deleted: bool = False
    has_origin: bool = False
    objects: tuple[ObjectRecord, ...] = ()
    results: dict[Stage, StageResult] = field(default_factory=dict)
    requests: frozenset[str] = frozenset()
    ended_at: datetime | None = None

    @property
    def is_known(self) -> bool:
        """Whether it was registered or deleted here."""
        return self.is_registered or self.is_deleted

    def is_at_rest_since(self, moment: datetime) -> bool:
        """Return whether nothing has been done to it since then, and nothing is going to be."""
        return not self.requests and (self.ended_at is None or self.ended_at < moment)


class Comparison:
    """Reads what is recorded of many images, a page at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def image_ids(self, *, customer: int | None = None, space: int | None = None) -> Iterator[list[str]]:
        """Yield the ids of all that is registered or has objects on record, in pages; an id may come twice."""
        for column, table in ((images.c.id, images), (outcomes.c.image_id, outcomes)):
            after = ""
            while True:
                query = select(column).where(column > after)
                if customer is not None:
                    query = query.where(table.c.customer == customer)
                if space is not None:
                    query = query.where(table.c.space == space)
                if table is outcomes:
                    query = query.where(~_is_registered(column), outcomes.c.bytes.is_not(None)).distinct()
                with self._database.read() as connection:
                    ids = list(connection.scalars(query.order_by(column).limit(PAGE)))
                if not ids:
                    break
                yield ids
                after = ids[-1]

    def recorded(self, image_ids: Sequence[str]) -> dict[str, Recorded]:
        """Return what is on record of each of these images, also of those that are not known."""
        ids = list(image_ids)
        with self._database.read() as connection:
            origins = {
                row.id: bool(row.registration["origin"])
                for row in connection.execute(select(images.c.id, images.c.registration).where(images.c.id.in_(ids)))
            }
            deleted = _among(connection, tombstones.c.image_id, ids)
            results = recorded_results(connection, ids)
            unfinished: dict[str, set[str]] = {}
            of_image = requests.c.image_id.in_(ids)
            for row in connection.execute(
                select(requests.c.image_id, requests.c.id).where(of_image, requests.c.state.in_(UNFINISHED))
            ):
                unfinished.setdefault(row.image_id, set()).add(row.id)
            ended = {
                row.image_id: row.ended
                for row in connection.execute(
                    select(requests.c.image_id, func.max(requests.c.finished_at).label("ended"))
                    .where(of_image)
                    .group_by(requests.c.image_id)
                )
            }
        return {
            image: Recorded(
                AssetId.parse(image),
                is_registered=image in origins,
                is_deleted=image in deleted and image not in origins,
                has_origin=origins.get(image, False),
                objects=tuple(results.objects.get(image, ())),
                results={stage: result for stage, (_, result) in results.of_stages.get(image, {}).items()},
                requests=frozenset(unfinished.get(image, ())),
                ended_at=ended.get(image),
            )
            for image in ids
        }

    def replace(self, seen: Recorded, found: Sequence[StageResult], *, now: datetime) -> bool:
        """Record what was found in storage in place of the results of these stages, and of the objects on record.

        False, and nothing is changed, if the image was requested since it was seen, or is being worked on.
        """
        image_id = str(seen.asset_id)
        with self._database.write() as connection:
            newest = _at_rest(connection, image_id)
            if newest is None or newest[1] != seen.ended_at:
                return False
            for result in found:
                put_results(connection, [(seen.asset_id, result, newest[0], now)], run_id=FOUND)
        return True

    def note_transient(self, asset_id: AssetId, records: Sequence[ObjectRecord]) -> None:
        """Record transient objects that were found in storage: `reconcile` deletes those of no open request."""
        with self._database.write() as connection:
            put_transient(connection, [(str(asset_id), record) for record in records])

    def sample(self, number: int) -> list[str]:
        """Return the ids of up to `PAGE` registered images, beginning with the one at this place in their order."""
        with self._database.read() as connection:
            return list(connection.scalars(select(images.c.id).order_by(images.c.id).offset(number).limit(PAGE)))

    def count(self) -> int:
        """Return how many images are registered."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(images)) or 0


def _at_rest(connection: Connection, image_id: str) -> tuple[str, datetime] | None:
    """Return the newest request of an image and when its last one ended; None if one has not ended."""
    of_image = requests.c.image_id == image_id
    if connection.execute(select(requests.c.id).where(of_image, requests.c.state.in_(UNFINISHED))).first():
        return None
    newest = select(func.max(requests.c.id).label("id"), func.max(requests.c.finished_at).label("ended"))
    found = connection.execute(newest.where(of_image)).one()
    return (found.id, found.ended) if found.id is not None else None


def _is_registered(column: Column[str]) -> ColumnElement[bool]:
    return select(images.c.id).where(images.c.id == column).exists()


def _among(connection: Connection, column: Column[str], ids: Collection[str]) -> set[str]:
    return set(connection.scalars(select(column).where(column.in_(list(ids)))))
