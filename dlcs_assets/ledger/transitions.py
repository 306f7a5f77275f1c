"""The one writer of requests: no other module inserts them or changes their state (a test reads the source for that).

What an event does to a request is written in the table of `dlcs_assets.domain.request_states`. Here it is marked, too,
which request decides about the state of its image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, false, func, insert, select, update

from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.request_states import TRANSITIONS, UNFINISHED, WITHOUT_EFFECT, Event, RequestState
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger.backfill_counts import note_ended, note_entered
from dlcs_assets.ledger.records import slices
from dlcs_assets.ledger.tables import requests

# Requests of these lanes stay in them when they are tried again: a backfill may be large, and a service down for long.
LASTING_LANES: Final = (Lane.BACKFILL, Lane.DELETE)
_RETRY_LANE: Final = case((requests.c.lane.in_(LASTING_LANES), requests.c.lane), else_=Lane.RETRY)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request ended without an error of a stage."""

    code: str
    cause: str
    remedy: str
    stage: Stage | None = None


Failure = IngestError | Reason

CANCELLED: Final = "cancelled"  # the code of every request that a person withdrew


def add_requests(connection: Connection, event: Event, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert new requests, in the state in which the event makes them."""
    transition = TRANSITIONS[event]
    if transition.before:
        raise ValueError(f"no request is made by the event {event}")
    if rows:
        common = {"state": transition.after, "attempts": 0, "is_current": True}
        connection.execute(insert(requests), [{**row, **common} for row in rows])
        note_entered(connection, (row.get("backfill") for row in rows))
        _choose_current(connection, {row["image_id"] for row in rows})


def change_state(
    connection: Connection,
    event: Event,
    *where: ColumnElement[bool],
    now: datetime | None = None,
    due_at: datetime | None = None,
    chunk_id: str | None = None,
    failure: Failure | None = None,
    superseded_by: str | ColumnElement[str] | None = None,
) -> int:
    """Do to the requests what the event does to them; return how many that were.

    Requests in a state in which the event cannot happen are skipped. Raises ValueError if something is missing that
    the event sets: `now` for the time of the end, `due_at`, `chunk_id`, `failure` (with `now`).
    """
    transition = TRANSITIONS[event]
    values: dict[str, Any] = {"state": transition.after}
    if transition.attempts != "kept":
        values["attempts"] = requests.c.attempts + 1 if transition.attempts == "+1" else 0
    if transition.retry_lane:
        values["lane"] = _RETRY_LANE
    for effect, given in (
        (transition.due, {"due_at": due_at}),
        (transition.chunk, {"chunk_id": chunk_id}),
        (transition.finished, {"finished_at": now}),
        (transition.error, _columns(failure)),
    ):
        if effect == "cleared":
            values |= dict.fromkeys(given)
        elif effect == "set":
            if not any(given.values()):
                raise ValueError(f"the event {event} sets {', '.join(given)}")
            values |= given
    if superseded_by is not None:
        values["superseded_by"] = superseded_by
    if transition.after is RequestState.FAILED:
        values["is_reported"] = requests.c.lane == Lane.DELETE  # of which no partition is to say anything
    chosen = update(requests).where(requests.c.state.in_(transition.before), *where).values(values)
    returned = (requests.c.image_id, requests.c.is_current, requests.c.backfill)
    changed = connection.execute(chosen.returning(*returned)).all()
    ends, begins_again = transition.finished == "set", transition.finished == "cleared"
    if ends:
        note_ended(connection, ((row.backfill, transition.after) for row in changed))
    _choose_current(connection, {row.image_id for row in changed if (ends and row.is_current) or begins_again})
    return len(changed)


def hand_over(connection: Connection, image_id: str, replaced: Sequence[str], request_id: str) -> None:
    """Let the requests that were superseded by `replaced` be superseded by what replaced those, too."""
    connection.execute(
        update(requests)
        .where(requests.c.image_id == image_id, requests.c.superseded_by.in_(replaced))
        .values(superseded_by=request_id)
    )


def mark_reported(connection: Connection, request_ids: Sequence[str]) -> None:
    """Note that Dagster has why these requests failed, or is not to have it."""
    connection.execute(update(requests).where(requests.c.id.in_(request_ids)).values(is_reported=True))


def leave_backfill(connection: Connection, request_ids: Sequence[str]) -> None:
    """Take requests out of their backfill, in which others for the same images take their place."""
    in_one = (requests.c.id.in_(request_ids), requests.c.backfill.is_not(None))
    left = connection.execute(select(requests.c.backfill, requests.c.state).where(*in_one)).all()
    if left:
        connection.execute(update(requests).where(*in_one).values(backfill=None))
        note_entered(connection, (row.backfill for row in left), sign=-1)
        note_ended(connection, ((row.backfill, RequestState(row.state)) for row in left), sign=-1)


def _choose_current(connection: Connection, image_ids: Collection[str]) -> None:
    """Mark the request that decides about each image's state.

    That is its unfinished one, otherwise the newest that had an effect, otherwise the newest that was cancelled. What
    was before a deletion has none any more, even if the image was registered again.
    """
    of_image = requests.alias("of_image")
    unfinished = func.max(case((of_image.c.state.in_(UNFINISHED), of_image.c.id)))
    effective = func.max(case((of_image.c.state.not_in(WITHOUT_EFFECT), of_image.c.id)))
    deletion = func.max(case((of_image.c.lane == Lane.DELETE, of_image.c.id)))
    standing = func.max(case((of_image.c.state != RequestState.SUPERSEDED, of_image.c.id)))
    since = case((effective < deletion, None), else_=effective)
    chosen = (
        select(func.coalesce(unfinished, since, standing))
        .where(of_image.c.image_id == requests.c.image_id)
        .scalar_subquery()
    )
    is_chosen = func.coalesce(requests.c.id == chosen, false())
    for ids in slices(sorted(image_ids)):
        wrong = (requests.c.image_id.in_(ids), requests.c.is_current != is_chosen)
        connection.execute(update(requests).where(*wrong).values(is_current=is_chosen))


def _columns(failure: Failure | None) -> dict[str, Any]:
    return {
        "error_code": failure.code if failure else None,
        "error_stage": failure.stage if failure else None,
        "error_cause": failure.cause if failure else None,
        "error_remedy": failure.remedy if failure else None,
    }
