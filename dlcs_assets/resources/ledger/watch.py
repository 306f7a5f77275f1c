"""What has been on its way for too long, and the numbers by which an installation is watched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, func, or_, select

from dlcs_assets.domain.stages import Lane, RequestState
from dlcs_assets.resources.ledger.database import Database
from dlcs_assets.resources.ledger.reports import UNFINISHED
from dlcs_assets.resources.ledger.schema import requests

_WHY: Final = {
    RequestState.WAITING: "wait for their registration",
    RequestState.PENDING: "wait for their turn",
    RequestState.RESERVED: "were given to a run that has not begun",
    RequestState.RUNNING: "are in work",
}


@dataclass(frozen=True, slots=True)
class Stalled:
    """Images of a customer that are on their way for the same reason. `since`: when the first one was asked for."""

    customer: int
    lane: Lane
    why: str
    count: int
    since: datetime
    example: str

    def told(self, now: datetime) -> str:
        """Return it as a sentence."""
        hours = (now - self.since).total_seconds() / 3600
        return f"{self.count} of customer {self.customer} {self.why}, for up to {hours:.1f} h, such as {self.example}"


class Watch:
    """Looks at the ledger as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stalled(self, before: datetime) -> list[Stalled]:
        """Return what was asked for before then and has not ended, the oldest first.

        Images of a backfill wait for their turn as long as that takes; they count once an attempt has failed.
        """
        waits_its_turn = and_(
            requests.c.lane == Lane.BACKFILL,
            requests.c.state == RequestState.PENDING,
            or_(requests.c.error_code.is_(None), requests.c.error_code == ""),
        )
        since = func.min(requests.c.created_at).label("since")
        query = (
            select(
                requests.c.customer,
                requests.c.lane,
                requests.c.state,
                requests.c.error_code,
                func.count().label("count"),
                since,
                func.min(requests.c.image_id).label("example"),
            )
            .where(requests.c.state.in_(UNFINISHED), requests.c.created_at < before, ~waits_its_turn)
            .group_by(requests.c.customer, requests.c.lane, requests.c.state, requests.c.error_code)
            .order_by(since)
        )
        with self._database.read() as connection:
            return [
                Stalled(row.customer, Lane(row.lane), _why(row), row[4], row.since, row.example)
                for row in connection.execute(query)
            ]


def _why(row: Row[Any]) -> str:
    state = RequestState(row.state)
    if state is RequestState.PENDING and row.error_code:
        return f"are tried again after {row.error_code}"
    return _WHY[state]
