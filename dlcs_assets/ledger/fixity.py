"""Which stored objects are to be read again and compared, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, exists, select, update

from dlcs_assets.domain.request_states import UNFINISHED
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.tables import objects, requests


@dataclass(frozen=True, slots=True)
class Deposit:
    """An object as it was stored. `damage` is what the last audit found wrong with it, None for nothing."""

    bucket: str
    key: str
    image_id: str
    bytes: int
    sha256: str
    damage: str | None = None

    @property
    def uri(self) -> str:
        """Where it is."""
        return S3Location(self.bucket, self.key).uri()


class Fixity:
    """Goes through all objects in turn: those never audited first, then those for the longest time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next(self, limit: int) -> list[Deposit]:
        """Return the objects whose turn it is, without those of images that are being made."""
        with self._database.read() as connection:
            at_rest = (
                objects.c.kind != ObjectKind.TRANSIENT,
                ~_in_progress(),
            )  # a transient one may be gone at any time
            found = _deposits(connection, _objects(objects.c.audited_at.is_(None), *at_rest).limit(limit))
            if len(found) < limit:
                earlier = _objects(objects.c.audited_at.is_not(None), *at_rest).order_by(objects.c.audited_at)
                found += _deposits(connection, earlier.limit(limit - len(found)))
        return found

    def record(self, deposit: Deposit, damage: str | None, *, now: datetime) -> bool:
        """Note what was found. False: it is being made again, or was since; then it says nothing, and is not noted."""
        with self._database.write() as connection:
            done = connection.execute(
                update(objects)
                .where(
                    objects.c.bucket == deposit.bucket,
                    objects.c.key == deposit.key,
                    objects.c.sha256 == deposit.sha256,
                    ~_in_progress(),
                )
                .values(audited_at=now, damage=damage)
            )
        return bool(done.rowcount)

    def damaged(self) -> list[Deposit]:
        """Return the objects that were found damaged and were not made again since."""
        with self._database.read() as connection:
            return _deposits(connection, _objects(objects.c.damage.is_not(None)).order_by(objects.c.image_id))


def _objects(*where: ColumnElement[bool]) -> Select[tuple[str, str, str, int, str, str | None]]:
    return select(
        objects.c.bucket, objects.c.key, objects.c.image_id, objects.c.bytes, objects.c.sha256, objects.c.damage
    ).where(*where)


def _deposits(connection: Connection, query: Select[tuple[str, str, str, int, str, str | None]]) -> list[Deposit]:
    return [
        Deposit(row.bucket, row.key, row.image_id, row.bytes, row.sha256, row.damage)
        for row in connection.execute(query)
    ]


def _in_progress() -> ColumnElement[bool]:
    """Match objects of unfinished requests: they may be replaced, or have been and the ledger does not know it yet."""
    return exists().where(requests.c.image_id == objects.c.image_id, requests.c.state.in_(UNFINISHED))
