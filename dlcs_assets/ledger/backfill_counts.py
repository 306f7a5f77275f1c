"""How many images of a backfill have ended in which state: kept with each change, so that none is ever counted again.

A transaction adds rows of its own session, as `image_counts` has them, so that runs of one backfill neither wait for
each other nor lock in a circle. Once the backfill has ended they are one row for each state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, delete, func, insert, select, text, update

from dlcs_assets.domain.request_states import ENDED, RequestState
from dlcs_assets.ledger.image_counts import ADDED_UP
from dlcs_assets.ledger.tables import backfill_counts, backfills

_SESSION = {"sqlite": str(ADDED_UP), "postgresql": "pg_backend_pid()"}
_ADD = """INSERT INTO backfill_counts (backfill, state, session, images) VALUES (:backfill, :state, {session}, :images)
ON CONFLICT (backfill, state, session) DO UPDATE SET images = backfill_counts.images + excluded.images"""


def note_entered(connection: Connection, of_requests: Iterable[int | None], *, sign: int = 1) -> None:
    """Note that requests are of these backfills, None for those that are of none; with a sign of -1 that they were."""
    for backfill, images in sorted(Counter(each for each in of_requests if each is not None).items()):
        more = backfills.c.images + sign * images
        connection.execute(update(backfills).where(backfills.c.id == backfill).values(images=more))


def note_ended(
    connection: Connection, of_requests: Iterable[tuple[int | None, RequestState]], *, sign: int = 1
) -> None:
    """Note that requests of these backfills are in such a state; what has not ended is not counted."""
    counted = Counter(each for each in of_requests if each[0] is not None and each[1] in ENDED)
    if counted:
        rows = [
            {"backfill": backfill, "state": str(state), "images": sign * images}
            for (backfill, state), images in counted.items()
        ]
        connection.execute(text(_ADD.format(session=_SESSION[connection.dialect.name])), rows)


def ended_of(connection: Connection, ids: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
    """Return how many images of each of these backfills have ended, by the state of their request."""
    key = (backfill_counts.c.backfill, backfill_counts.c.state)
    images = func.sum(backfill_counts.c.images)
    query = select(*key, images).where(backfill_counts.c.backfill.in_(ids)).group_by(*key).having(images != 0)
    found: dict[int, dict[str, int]] = {}
    for backfill, state, number in connection.execute(query):
        found.setdefault(backfill, {})[state] = int(number)
    return found


def add_up(connection: Connection, backfill: int) -> None:
    """Make one row of those of all sessions, in a transaction that is the only one that writes."""
    ended = ended_of(connection, [backfill]).get(backfill, {})
    connection.execute(delete(backfill_counts).where(backfill_counts.c.backfill == backfill))
    rows = [
        {"backfill": backfill, "state": state, "session": ADDED_UP, "images": images} for state, images in ended.items()
    ]
    if rows:
        connection.execute(insert(backfill_counts), rows)
