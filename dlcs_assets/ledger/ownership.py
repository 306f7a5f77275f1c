"""The Dagster instance that a ledger works for. There is one: two would each work on what the other has in progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, true, update

from dlcs_assets.domain.errors import ServiceDownError
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.ledger.attempts import return_requests
from dlcs_assets.ledger.database import Database, NotOwnerError
from dlcs_assets.ledger.losses import end_held
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.tables import chunks, claims, leases, owner, requests, unfinished, workers

SEEN_EVERY: Final = timedelta(seconds=60)
TAKEN_OVER: Final = "ledger_taken_over"
UNSEEN: Final = "not seen yet"  # the name of an owner that was named by a person


@dataclass(frozen=True, slots=True)
class Owner:
    """A Dagster instance. `name` says where a process of it runs; it may change, the id does not."""

    instance_id: str
    name: str
    since: datetime
    seen_at: datetime

    def describe(self, now: datetime) -> str:
        """Return it as a part of a sentence."""
        ago = max(0, round((now - self.seen_at).total_seconds()))
        return (
            f"Dagster instance {self.instance_id} ({self.name}), its owner since {self.since:%Y-%m-%d %H:%M} UTC, "
            f"last seen {ago} s ago"
        )


@dataclass(frozen=True, slots=True)
class InProgress:
    """What the owner has in progress: runs that hold images or are about to, and how many images those are."""

    runs: tuple[str, ...]
    images: int


class Ownership:
    """Who owns the ledger, and how that changes: by the first instance that comes, then by `take_over` only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> Owner | None:
        """Return the owner; None if no Dagster instance has used the ledger yet."""
        with self._database.read() as connection:
            return _owner(connection)

    def require(self, instance_id: str, name: str, *, now: datetime) -> None:
        """Make the instance the owner if there is none. Raises NotOwnerError if it is another one."""
        found = self.current()
        if found is None:
            with self._database.write() as connection:
                found = _owner(connection)
                if found is None:
                    _become(connection, instance_id, name, now)
                    return
        if found.instance_id != instance_id:
            raise NotOwnerError(". ".join(refusal(found, instance_id, name, now)))
        if found.name == UNSEEN or now - found.seen_at >= SEEN_EVERY:
            with self._database.write() as connection:
                connection.execute(
                    update(owner).where(owner.c.instance_id == instance_id).values(name=name, seen_at=now)
                )

    def in_progress(self) -> InProgress:
        """Return what would be made due again by a change of the owner."""
        with self._database.read() as connection:
            return _in_progress(connection)

    def take_over(self, instance_id: str, name: str, *, schedule: RetrySchedule, now: datetime) -> InProgress:
        """Make the instance the owner; return what of the former owner's was in progress.

        Its images are due again, without having lost an attempt. Its runs publish and record nothing more, should
        their processes still live. Nothing changes if the instance is the owner already.
        """
        with self._database.write() as connection:
            found = _owner(connection)
            if found is not None and found.instance_id == instance_id:
                return InProgress((), 0)
            stopped = _in_progress(connection)
            end_held(connection, true(), loss=_moved, schedule=schedule, now=now, at_once=True)
            connection.execute(update(chunks).where(chunks.c.closed_at.is_(None)).values(closed_at=now))
            return_requests(connection, _reserved(connection), now)
            connection.execute(update(workers).where(workers.c.ended_at.is_(None)).values(ended_at=now))
            connection.execute(delete(leases))
            connection.execute(delete(owner))
            _become(connection, instance_id, name, now)
        return stopped


def refusal(found: Owner, instance_id: str, name: str, now: datetime) -> tuple[str, str]:
    """Return why an instance may not use the ledger, and what to do."""
    cause = (
        f"This ledger belongs to {found.describe(now)}. This is Dagster instance {instance_id} ({name}), and a ledger "
        "works for one Dagster instance: nothing is taken in, launched or changed"
    )
    remedy = (
        "Stop this one, or set DLCS_LEDGER_URL to a ledger of its own. If it is to replace the other: stop that one, "
        f"then dlcs ledger take-over {instance_id}"
    )
    return cause, remedy


def _owner(connection: Connection) -> Owner | None:
    row = connection.execute(select(owner)).one_or_none()
    return None if row is None else Owner(row.instance_id, row.name, row.since, row.seen_at)


def _become(connection: Connection, instance_id: str, name: str, now: datetime) -> None:
    connection.execute(insert(owner).values(position=1, instance_id=instance_id, name=name, since=now, seen_at=now))


def _in_progress(connection: Connection) -> InProgress:
    open_chunks = select(chunks.c.run_id).where(chunks.c.closed_at.is_(None), chunks.c.run_id.is_not(None))
    runs = {*connection.scalars(open_chunks), *connection.scalars(select(claims.c.run_id).distinct())}
    held = connection.scalar(select(func.count()).select_from(claims)) or 0
    return InProgress(tuple(sorted(runs)), held + len(_reserved(connection)))


def _reserved(connection: Connection) -> Sequence[str]:
    return connection.scalars(select(requests.c.id).where(unfinished(RequestState.RESERVED))).all()


def _moved(run_id: str, _begun: int) -> ServiceDownError:
    return ServiceDownError(
        TAKEN_OVER,
        f"The ledger was given to another Dagster instance while run {run_id} of the former one worked on this image",
        remedy="The image is tried again automatically, by the new owner",
    )
