"""What a run leaves unfinished: images that it had begun, and others that it only held.

A run that dies charges no image that it had not begun. If it had begun several, at most one of them killed it: none
loses an attempt, and after the second time each has a run of its own. A run that dies with one image in progress costs
that image an attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from dlcs_assets.domain.errors import IngestError, RunLostError, TransientError
from dlcs_assets.domain.request_states import Event
from dlcs_assets.ledger.attempts import end_attempt
from dlcs_assets.ledger.overtaken import end_overtaken
from dlcs_assets.ledger.records import RetrySchedule, slices
from dlcs_assets.ledger.tables import attempts, claims, requests
from dlcs_assets.ledger.transitions import change_state
from dlcs_assets.ledger.write_backs import add_failed

RUN_LOST: Final = "run_lost"

# Given a run, and how many images it had begun and not ended.
Loss = Callable[[str, int], IngestError]


@dataclass(frozen=True, slots=True)
class Held:
    """A request that a run held when it ended. `begun_at` is None if it had not begun the image."""

    request_id: str
    run_id: str
    begun_at: datetime | None
    chunk_id: str | None


def begin_images(connection: Connection, token: str, request_ids: Collection[str], now: datetime) -> set[str]:
    """Note that work on these images begins; return those that the token still holds."""
    mine = (claims.c.token == token, claims.c.request_id.in_(request_ids))
    if connection.execute(update(claims).where(*mine).values(begun_at=now)).rowcount == len(request_ids):
        return set(request_ids)
    return set(connection.scalars(select(claims.c.request_id).where(*mine)))


def end_held(
    connection: Connection,
    *where: ColumnElement[bool],
    loss: Loss,
    schedule: RetrySchedule,
    now: datetime,
    at_once: bool = False,
) -> list[Held]:
    """Release the claims that match, and make their images due again; return what was held.

    An attempt is ended for the images that were begun only. If none was, they are due after a pause, unless `at_once`:
    no image is to blame, but if every run ended so they would follow each other without end.
    """
    rows = connection.execute(
        select(claims.c.request_id, claims.c.run_id, claims.c.begun_at, requests.c.chunk_id)
        .join(requests, requests.c.id == claims.c.request_id)
        .where(*where)
    )
    held = [Held(*row) for row in rows]
    begun = [row for row in held if row.begun_at is not None]
    for row in begun:
        error = loss(row.run_id, len(begun))
        end_attempt(connection, row.request_id, row.run_id, error, schedule=schedule, now=now, due_at=now)
    if schedule.writes_back:
        add_failed(connection, [row.request_id for row in begun], now)
    due_at = now if begun or at_once else schedule.next_due(now, 1)
    for ids in slices([row.request_id for row in held if row.begun_at is None]):
        released = requests.c.id.in_(ids)
        change_state(connection, Event.NOT_BEGUN, released, due_at=due_at)
        connection.execute(delete(claims).where(claims.c.request_id.in_(ids)))
        end_overtaken(connection, released, now=now)
    return held


def losses_of(connection: Connection, request_ids: Sequence[str]) -> dict[str, int]:
    """Return how many runs died while they worked on the images of these requests; those without are left out."""
    found: dict[str, int] = {}
    for ids in slices(request_ids):
        lost = (attempts.c.request_id.in_(ids), attempts.c.error_code == RUN_LOST)
        query = select(attempts.c.request_id, func.count()).where(*lost).group_by(attempts.c.request_id)
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found


def run_lost(run_id: str, begun: int) -> TransientError:
    """Return why an image was not finished that was one of so many that a lost run worked on."""
    if begun > 1:
        return RunLostError(
            RUN_LOST,
            f"Run {run_id} ended without finishing this image, one of {begun} that it worked on",
            remedy="See the run's log in Dagster; the image is tried again automatically, after another loss by itself",
        )
    return TransientError(
        RUN_LOST,
        f"Run {run_id} ended while it worked on this image by itself",
        remedy="See the run's log in Dagster: does the image take too much memory, or crash a library? It is tried "
        "again automatically while it has attempts left; afterwards: dlcs retry --reason run_lost",
    )


def run_terminated(run_id: str, _begun: int) -> RunLostError:
    """Return why an image was not finished whose run a person ended."""
    return RunLostError(RUN_LOST, f"Run {run_id} was terminated by hand", remedy="None: this was meant")
