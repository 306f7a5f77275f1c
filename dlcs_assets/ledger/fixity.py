"""Which stored objects are to be read again and compared, and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, exists, select

from dlcs_assets.domain.request_states import UNFINISHED
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.details import Holding
from dlcs_assets.ledger.tables import outcomes, requests
from dlcs_assets.ledger.writes import set_details


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
        at_rest = outcomes.c.bytes.is_not(None), ~_in_progress()
        with self._database.read() as connection:
            of_rows = connection.execute(_holdings(*at_rest, outcomes.c.audited_at.is_(None)).limit(limit)).all()
            found = [each for each in _held(of_rows) if each[1].audited_at is None][:limit]
            if len(found) < limit:
                # An outcome has the oldest time of its objects: no object of another one is older than all of these.
                earlier = _holdings(*at_rest, outcomes.c.audited_at.is_not(None)).order_by(outcomes.c.audited_at)
                seen = _held([*of_rows, *connection.execute(earlier.limit(limit))])
                audited = [(each[1].audited_at, each) for each in seen if each[1].audited_at is not None]
                audited.sort(key=lambda timed: timed[0])
                found += [each for _, each in audited[: limit - len(found)]]
        return [_deposit(*each) for each in found]

    def record(self, deposit: Deposit, damage: str | None, *, now: datetime) -> bool:
        """Note what was found. False: it is being made again, or was since; then it says nothing, and is not noted."""
        with self._database.write() as connection:
            of_image = outcomes.c.image_id == deposit.image_id
            for row in connection.execute(_holdings(of_image, outcomes.c.bytes.is_not(None), ~_in_progress())).all():
                noted = tuple(
                    replace(each, audited_at=now, damage=damage) if _is_of(deposit, each) else each
                    for each in row.details.holdings
                )
                if noted != row.details.holdings:
                    set_details(connection, row.image_id, row.stage, replace(row.details, holdings=noted))
                    return True
        return False

    def damaged(self) -> list[Deposit]:
        """Return the objects that were found damaged and were not made again since."""
        with self._database.read() as connection:
            rows = connection.execute(_holdings(outcomes.c.damaged).order_by(outcomes.c.image_id)).all()
        return [_deposit(*each) for each in _held(rows) if each[1].damage is not None]


def _holdings(*where: ColumnElement[bool]) -> Select[Any]:
    return select(outcomes.c.image_id, outcomes.c.stage, outcomes.c.details).where(*where)


def _held(rows: Iterable[Row[Any]]) -> list[tuple[str, Holding]]:
    return [(row.image_id, each) for row in rows for each in row.details.holdings]


def _deposit(image_id: str, held: Holding) -> Deposit:
    record = held.record
    return Deposit(record.bucket, record.key, image_id, record.bytes, record.sha256, held.damage)


def _is_of(deposit: Deposit, held: Holding) -> bool:
    return (deposit.bucket, deposit.key, deposit.sha256) == (held.record.bucket, held.record.key, held.record.sha256)


def _in_progress() -> ColumnElement[bool]:
    """Match objects of unfinished requests: they may be replaced, or have been and the ledger does not know it yet."""
    return exists().where(requests.c.image_id == outcomes.c.image_id, requests.c.state.in_(UNFINISHED))
