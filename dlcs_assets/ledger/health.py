"""What has been in progress for too long, and the numbers by which an installation is monitored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, and_, exists, func, or_, select, text

from dlcs_assets.domain.request_states import UNFINISHED, MessageState, RequestState
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.gallery import MOST_COUNTED
from dlcs_assets.ledger.tables import claims, messages, notifications, outcomes, requests, unfinished
from dlcs_assets.ledger.write_backs import IS_UNWRITTEN

DOWN: Final = "_down"  # how codes of services end that could not be reached at all
_WHY: Final = {
    RequestState.WAITING: "wait for their registration",
    RequestState.PENDING: "wait for a run",
    RequestState.RESERVED: "were given to a run that has not begun",
    RequestState.RUNNING: "are in progress",
}


@dataclass(frozen=True, slots=True)
class Stalled:
    """Images of a customer that are unfinished for the same reason. `since`: when the first one was requested."""

    customer: int
    lane: Lane
    why: str
    count: int
    since: datetime
    example: str

    def describe(self, now: datetime) -> str:
        """Return it as a sentence."""
        hours = (now - self.since).total_seconds() / 3600
        return f"{self.count} of customer {self.customer} {self.why}, for up to {hours:.1f} h, such as {self.example}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Images that have not ended, for the same reason. `due`: when the first one is or was due, of what is pending.

    `count` is `MOST_COUNTED` at most.
    """

    why: str
    count: int
    due: datetime | None
    example: str


@dataclass(frozen=True, slots=True)
class SameReason:
    """Images that failed, or messages that were rejected, with the same code. `cause` is what was said of `example`."""

    code: str
    count: int
    example: str
    cause: str

    def describe(self) -> str:
        """Return it as a sentence."""
        return f"{self.count} with {self.code}, such as {self.example}: {self.cause}"


class Health:
    """What the ledger says about the whole installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def stalled(self, before: datetime) -> list[Stalled]:
        """Return what was asked for before then and has not ended, the oldest first.

        Images of a backfill wait for a run as long as that takes; they count once an attempt has failed.
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
            .where(unfinished(*UNFINISHED), requests.c.created_at < before, ~waits_its_turn)
            .group_by(requests.c.customer, requests.c.lane, requests.c.state, requests.c.error_code)
            .order_by(since)
        )
        with self._database.read() as connection:
            return [
                Stalled(row.customer, Lane(row.lane), _why(row), row[4], row.since, row.example)
                for row in connection.execute(query)
            ]

    def waiting(self) -> list[Waiting]:
        """Return what has not ended and why, the most frequent reason first. It costs no more for a large backlog."""
        found: list[Waiting] = []
        with self._database.read() as connection:
            for state in UNFINISHED:
                columns = (requests.c.state, requests.c.error_code, requests.c.due_at, requests.c.image_id)
                some = select(*columns).where(unfinished(state)).limit(MOST_COUNTED).subquery()
                counted = func.count().label("count")
                due, example = func.min(some.c.due_at).label("due"), func.min(some.c.image_id).label("example")
                groups = select(some.c.state, some.c.error_code, counted, due, example)
                for row in connection.execute(groups.group_by(some.c.state, some.c.error_code)):
                    due_at = row.due if state is RequestState.PENDING else None
                    found.append(Waiting(_why(row), row[2], due_at, row.example))
        return sorted(found, key=lambda each: (-each.count, each.why))

    def oldest_due(self, now: datetime) -> dict[int, datetime]:
        """Return since when the image of each customer that is longest due is; without customers that have none."""
        query = (
            select(requests.c.customer, func.min(requests.c.due_at).label("since"))
            .where(unfinished(RequestState.PENDING), requests.c.due_at <= now, ~IS_UNWRITTEN)
            .group_by(requests.c.customer)
        )
        with self._database.read() as connection:
            return {row.customer: row.since for row in connection.execute(query)}

    def unfinished(self) -> dict[str, int]:
        """Count what has not ended by lane; lanes with nothing included."""
        query = select(requests.c.lane, func.count()).where(unfinished(*UNFINISHED)).group_by(requests.c.lane)
        return {lane.value: 0 for lane in Lane} | self._counts(query)

    def failed(self, *, since: datetime | None = None) -> dict[str, int]:
        """Count images whose newest request failed, by the code of the reason; with `since`, failures since then."""
        newer = requests.alias("newer")
        stands = ~exists().where(newer.c.image_id == requests.c.image_id, newer.c.id > requests.c.id)
        query = (
            select(requests.c.error_code, func.count())
            .where(requests.c.state == RequestState.FAILED)
            .group_by(requests.c.error_code)
        )
        return self._counts(query.where(stands if since is None else requests.c.finished_at >= since))

    def failed_for(self, codes: Collection[str]) -> list[SameReason]:
        """Return the images whose newest request failed with one of the codes, by code, the most frequent first."""
        newer = requests.alias("newer")
        where = (
            requests.c.state == RequestState.FAILED,
            requests.c.error_code.in_(codes),
            ~exists().where(newer.c.image_id == requests.c.image_id, newer.c.id > requests.c.id),
        )
        count = func.count().label("count")
        groups = select(requests.c.error_code, count, func.min(requests.c.id).label("id")).where(*where)
        with self._database.read() as connection:
            found = connection.execute(groups.group_by(requests.c.error_code).order_by(count.desc())).all()
            named = select(requests.c.id, requests.c.image_id, requests.c.error_cause)
            examples = {
                row.id: row for row in connection.execute(named.where(requests.c.id.in_([row.id for row in found])))
            }
        return [
            SameReason(row.error_code, row[1], examples[row.id].image_id, examples[row.id].error_cause or "")
            for row in found
        ]

    def rejected(self, *, since: datetime) -> list[SameReason]:
        """Return the messages received since then that are rejected, by code, the most frequent first.

        The example is the image that a message names, otherwise the message's own id.
        """
        count = func.count().label("count")
        groups = (
            select(messages.c.code, count, func.min(messages.c.id).label("id"))
            .where(messages.c.state == MessageState.REJECTED, messages.c.received_at >= since)
            .group_by(messages.c.code)
            .order_by(count.desc(), messages.c.code)
        )
        with self._database.read() as connection:
            found = connection.execute(groups).all()
            named = select(messages.c.id, messages.c.image_id, messages.c.cause)
            examples = {
                row.id: row for row in connection.execute(named.where(messages.c.id.in_([row.id for row in found])))
            }
        return [
            SameReason(row.code, row[1], examples[row.id].image_id or row.id, examples[row.id].cause or "")
            for row in found
        ]

    def waiting_for_services(self) -> dict[str, int]:
        """Count what is pending because a service was found down, by the service."""
        query = (
            select(requests.c.error_code, func.count())
            .where(unfinished(RequestState.PENDING), requests.c.error_code.like(f"%{DOWN}"))
            .group_by(requests.c.error_code)
        )
        return {code.removesuffix(DOWN): count for code, count in self._counts(query).items()}

    def rejected_messages(self) -> int:
        """Count the messages that could not be used and whose bodies are kept."""
        return self._count(
            select(func.count()).where(messages.c.state == MessageState.REJECTED, messages.c.body.is_not(None))
        )

    def unpublished(self) -> int:
        """Count the notifications that have not been published."""
        return self._count(select(func.count()).where(notifications.c.published_at.is_(None)))

    def unreported(self) -> int:
        """Count the outcomes that have not been reported to Dagster."""
        return self._count(select(func.count()).where(outcomes.c.reported.is_(False)))

    def in_progress(self) -> int:
        """Count the images that runs hold."""
        return self._count(select(func.count()).select_from(claims))

    def oldest_heartbeat(self) -> datetime | None:
        """Return the oldest sign of life of a run that holds images."""
        with self._database.read() as connection:
            found: datetime | None = connection.scalar(select(func.min(claims.c.heartbeat_at)))
        return found

    def size(self) -> int:
        """Return the bytes of the database."""
        with self._database.read() as connection:
            if connection.dialect.name == "sqlite":
                pages, size = (connection.scalar(text(f"PRAGMA {what}")) for what in ("page_count", "page_size"))
                return int(pages) * int(size)
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")))

    def _counts(self, query: Select[Any]) -> dict[str, int]:
        with self._database.read() as connection:
            return {str(name): count for name, count in connection.execute(query)}

    def _count(self, query: Select[Any]) -> int:
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)


def _why(row: Row[Any]) -> str:
    state = RequestState(row.state)
    if state is RequestState.PENDING and row.error_code:
        return f"are tried again after {row.error_code}"
    return _WHY[state]
