"""Whether runs can be started, as their launches show. While they cannot, dispatch pauses, for a growing time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.tables import chunks, launches

FIRST_PAUSE: Final = timedelta(seconds=15)
LONGEST_PAUSE: Final = timedelta(minutes=15)
UNLIMITED: Final = 1_000_000
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class HeldUp:
    """Runs that were launched could not be started since then.

    They wait in Dagster's queue, or `failures` of them failed one after another, and none is asked for until
    `paused_until`.
    """

    reason: str
    run_id: str
    since: datetime
    failures: int
    paused_until: datetime | None

    def describe(self) -> str:
        """Return it as a sentence."""
        said = f"Runs cannot be started since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        if self.paused_until is None:
            return f"{said}, and wait in Dagster's queue (run {self.run_id}): {self.reason}"
        return (
            f"{said}: {self.failures} failed in a row, the last one is {self.run_id}; the next one is launched at "
            f"{self.paused_until:%H:%M:%S} UTC: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class Permission:
    """How many new chunks may be given to runs now, and why no more; `paused`: nothing at all is launched."""

    chunks: int
    reason: str = ""
    paused: bool = False


class Launches:
    """What launches of runs came to. A run that begins to work clears it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def held_up(self) -> HeldUp | None:
        """Return why runs cannot be started at present; None if they can, as far as is known."""
        with self._database.read() as connection:
            return _held_up(connection)

    def permission(self, now: datetime) -> Permission:
        """Return how many chunks may be launched: none while dispatch pauses, and one to find out whether it helped."""
        with self._database.read() as connection:
            found = _held_up(connection)
            if found is None or found.paused_until is None:
                return Permission(UNLIMITED)
            if now < found.paused_until:
                return Permission(0, found.describe(), paused=True)
            tried = select(func.count()).where(chunks.c.closed_at.is_(None), chunks.c.created_at >= found.paused_until)
            if connection.scalar(tried):
                return Permission(0, f"One run is tried first. {found.describe()}")
        return Permission(1, f"Only one run is launched, to try it. {found.describe()}")

    def record_waiting(self, run_id: str, reason: str, *, now: datetime) -> None:
        """Note that a run waits in Dagster's queue because it could not be started."""
        with self._database.write() as connection:
            if _held_up(connection) is None:
                _insert(connection, run_id, reason, now, failures=0, paused_until=None)
            else:
                connection.execute(update(launches).values(run_id=run_id, reason=_shortened(reason)))

    def record_failed(self, run_id: str, reason: str, *, now: datetime) -> None:
        """Note that a run failed before it began, and pause dispatch: for twice as long as after the failure before.

        Those that fail during a pause were launched before it, and do not make it longer.
        """
        with self._database.write() as connection:
            found = _held_up(connection)
            if found is not None and found.paused_until is not None and now < found.paused_until:
                return
            failures = (found.failures if found else 0) + 1
            pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
            connection.execute(delete(launches))
            since = found.since if found else now
            _insert(connection, run_id, reason, since, failures=failures, paused_until=now + pause)

    def record_none_waiting(self) -> None:
        """Note that no run waits any more; a pause after failed runs stays."""
        with self._database.read() as connection:
            found = _held_up(connection)
        if found is not None and found.paused_until is None:
            with self._database.write() as connection:
                connection.execute(delete(launches).where(launches.c.paused_until.is_(None)))


def record_started(connection: Connection) -> None:
    """Note that a run began to work: others can be launched again."""
    connection.execute(delete(launches))


def _held_up(connection: Connection) -> HeldUp | None:
    row: Any = connection.execute(select(launches)).one_or_none()
    return row and HeldUp(row.reason, row.run_id, row.since, row.failures, row.paused_until)


def _insert(
    connection: Connection, run_id: str, reason: str, since: datetime, *, failures: int, paused_until: datetime | None
) -> None:
    connection.execute(
        insert(launches).values(
            position=1,
            run_id=run_id,
            reason=_shortened(reason),
            since=since,
            failures=failures,
            paused_until=paused_until,
        )
    )


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"
