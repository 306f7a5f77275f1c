"""Which process works on a run: one, also if the run was launched twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.processes import is_dead, this_process
from dlcs_assets.ledger.records import new_id
from dlcs_assets.ledger.tables import workers


class Entry(StrEnum):
    """What a process finds that wants to work on a run."""

    MINE = "mine"
    HELD = "held"  # another process works on it, and lives
    ENDED = "ended"  # another process was through with it


class Workers:
    """The processes that work on runs, each with a heartbeat.

    A process that was killed is replaced by the next one of the same run: at once if both are on one machine,
    otherwise when it has given no sign of life for `ttl`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tokens: dict[str, str] = {}  # of this process, by run

    def enter(self, run_id: str, *, ttl: timedelta, now: datetime) -> Entry:
        """Hold the run for this process, unless another one does or did."""
        mine = this_process()
        with self._database.read() as connection:
            found = _occupied(connection, run_id, mine, ttl, now)
        if found is not None:
            return found
        with self._database.write() as connection:
            found = _occupied(connection, run_id, mine, ttl, now)
            if found is not None:
                return found
            token = new_id()
            values = {"token": token, "process": mine, "heartbeat_at": now, "ended_at": None}
            if not connection.execute(update(workers).where(workers.c.run_id == run_id).values(values)).rowcount:
                connection.execute(insert(workers).values(run_id=run_id, **values))
        self._tokens[run_id] = token
        return Entry.MINE

    def beat(self, run_id: str, *, now: datetime) -> bool:
        """Record a sign of life; return whether this process still holds the run."""
        with self._database.write_held() as connection:
            return self._update(connection, run_id, {"heartbeat_at": now})

    def silent(self, since: datetime) -> set[str]:
        """Return the runs whose process has given no sign of life since then, and has not said that it was through."""
        query = select(workers.c.run_id).where(workers.c.heartbeat_at < since, workers.c.ended_at.is_(None))
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def leave(self, run_id: str, *, now: datetime) -> None:
        """Note that this process is through with the run."""
        with self._database.write() as connection:
            self._update(connection, run_id, {"heartbeat_at": now, "ended_at": now})
        self._tokens.pop(run_id, None)

    def _update(self, connection: Connection, run_id: str, values: Mapping[str, datetime]) -> bool:
        held = (workers.c.run_id == run_id, workers.c.token == self._tokens.get(run_id, ""))
        return bool(connection.execute(update(workers).where(*held).values(values)).rowcount)


def _occupied(connection: Connection, run_id: str, mine: str, ttl: timedelta, now: datetime) -> Entry | None:
    """Return how the run is another process's; None if this process may hold it."""
    row = connection.execute(select(workers).where(workers.c.run_id == run_id)).one_or_none()
    if row is None or row.process == mine:
        return None
    if row.ended_at is not None:
        return Entry.ENDED
    return None if is_dead(row.process) or now - row.heartbeat_at > ttl else Entry.HELD
