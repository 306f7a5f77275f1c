"""One image held by one run: the claim on it, and the end of the attempt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, TransientError
from dlcs_assets.domain.request_states import TRANSITIONS, UNFINISHED, Event, RequestState, end_of_attempt
from dlcs_assets.domain.signed_url import is_signed, unsigned
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.overtaken import end_overtaken
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.tables import attempts, chunks, claims, images, outcomes, requests
from dlcs_assets.ledger.transitions import change_state

__all__ = [
    "ClaimLostError",
    "add_attempt",
    "check_claim",
    "claim_lost",
    "claim_requests",
    "end_attempt",
    "end_successes",
    "holders",
    "remove_signatures",
    "reserved_of",
    "return_requests",
    "take_chunk",
]


def check_claim(connection: Connection, token: str, asset_id: AssetId) -> None:
    """Raise ClaimLostError unless the token holds the image, within the transaction that relies on it."""
    if not reserved_of(connection, token, [str(asset_id)]):
        raise claim_lost(asset_id)


def reserved_of(connection: Connection, token: str, image_ids: Collection[str]) -> dict[str, int]:
    """Return, by image, how many bytes of its customer's quota are reserved; of those only that the token holds."""
    query = select(claims.c.image_id, claims.c.reserved_bytes).where(
        claims.c.image_id.in_(image_ids), claims.c.token == token
    )
    return {row.image_id: row.reserved_bytes for row in connection.execute(query)}


def claim_lost(asset_id: AssetId) -> ClaimLostError:
    """Return the error for an image that the run does not hold any more."""
    return ClaimLostError(f"{asset_id} is no longer this run's to work on")


def take_chunk(connection: Connection, chunk_id: str, run_id: str) -> bool:
    """Note that the chunk is this run's; False if it is another's, or ended."""
    chunk = connection.execute(select(chunks).where(chunks.c.id == chunk_id)).one_or_none()
    if chunk is None or chunk.closed_at is not None or chunk.run_id not in {None, run_id}:
        return False
    connection.execute(update(chunks).where(chunks.c.id == chunk_id).values(run_id=run_id))
    return True


def claim_requests(connection: Connection, rows: Sequence[Row[Any]], token: str, run_id: str, now: datetime) -> None:
    """Claim the images of these rows of `requests` for a run."""
    if not rows:
        return
    connection.execute(
        insert(claims),
        [
            {
                "image_id": row.image_id,
                "request_id": row.id,
                "token": token,
                "run_id": run_id,
                "heartbeat_at": now,
                "customer": row.customer,
            }
            for row in rows
        ],
    )
    change_state(connection, Event.CLAIMED, requests.c.id.in_([row.id for row in rows]))


def holders(connection: Connection, image_ids: Sequence[str]) -> dict[str, str]:
    """Return the runs that hold the images, by image; images that no run holds are left out."""
    rows = connection.execute(select(claims.c.image_id, claims.c.run_id).where(claims.c.image_id.in_(image_ids)))
    return {row.image_id: row.run_id for row in rows}


def return_requests(connection: Connection, request_ids: Sequence[str], now: datetime) -> None:
    """Make reserved requests due again, without an attempt."""
    if request_ids:
        returned = requests.c.id.in_(request_ids)
        change_state(connection, Event.RETURNED, returned, due_at=now)
        end_overtaken(connection, returned, now=now)


def end_attempt(
    connection: Connection,
    request_id: str,
    run_id: str,
    error: IngestError | None,
    *,
    schedule: RetrySchedule,
    now: datetime,
    due_at: datetime | None = None,
    stays: bool = False,
) -> RequestState:
    """End an attempt that failed, or deleted the image, and its claim; return the state of the request.

    Ingests that succeed: `end_successes`. However the attempt ends, by the run itself or because the run was killed, it
    ends here: nothing of an earlier attempt's error remains. `due_at` is when the image is tried again, if not by the
    schedule. `stays`: the image is left as it is, where it would fail.
    """
    request = (requests.c.id == request_id,)
    row = connection.execute(select(requests.c.image_id, requests.c.attempts, requests.c.lane).where(*request)).one()
    event = end_of_attempt(
        error, attempts=row.attempts, max_attempts=schedule.attempts, success=Event.DELETED, stays=stays
    )
    if due_at is None and isinstance(error, TransientError):
        made = row.attempts + (0 if event is Event.SERVICE_DOWN else 1)
        due_at = schedule.next_due(now, made, error.retry_after)
    change_state(connection, event, *request, now=now, due_at=due_at, failure=error)
    state = TRANSITIONS[event].after
    add_attempt(connection, request_id, run_id, (state, error), now)
    if event is Event.NOT_RENEWED:
        # Dagster would show as failed, or missing, what its run was to make and did not: it is reported again.
        connection.execute(update(outcomes).where(outcomes.c.image_id == row.image_id).values(reported=False))
    if state is RequestState.PENDING or row.lane == Lane.DELETE:
        # Tried again, a deletion would delete what was made since, and an ingest has nothing to go by.
        end_overtaken(connection, *request, now=now)
        state = RequestState(connection.scalars(select(requests.c.state).where(*request)).one())
    connection.execute(delete(claims).where(claims.c.request_id == request_id))
    return state


def end_successes(connection: Connection, request_ids: Collection[str], run_id: str, *, now: datetime) -> None:
    """End attempts at ingests that succeeded, and their claims: what `end_attempt` does, for many at once."""
    last = select(func.max(attempts.c.number)).where(attempts.c.request_id == requests.c.id).scalar_subquery()
    chosen = requests.c.id.in_(request_ids)
    rows = connection.execute(
        select(requests.c.id, requests.c.image_id, last.label("last"), images.c.registration)
        .outerjoin(images, images.c.id == requests.c.image_id)
        .where(chosen)
    ).all()
    change_state(connection, Event.SUCCEEDED, chosen, now=now)
    state = TRANSITIONS[Event.SUCCEEDED].after
    connection.execute(
        insert(attempts),
        [_attempt_row(row.id, (row.last or 0) + 1, run_id, (state, None), now) for row in rows],
    )
    remove_signatures(connection, {row.image_id: row.registration for row in rows if row.registration})
    connection.execute(delete(claims).where(claims.c.request_id.in_(request_ids)))


def remove_signatures(connection: Connection, registrations: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep no right to read for longer than it is needed: until the image is done and no request for it is left."""
    for image_id, registration in registrations.items():
        if not is_signed(registration["origin"]):
            continue
        unfinished = select(requests.c.id).where(requests.c.image_id == image_id, requests.c.state.in_(UNFINISHED))
        if connection.execute(unfinished.limit(1)).first():
            continue
        changed = {**registration, "origin": unsigned(registration["origin"])}
        connection.execute(update(images).where(images.c.id == image_id).values(registration=changed))


def add_attempt(
    connection: Connection,
    request_id: str,
    run_id: str,
    result: tuple[RequestState, IngestError | None],
    now: datetime,
) -> None:
    """Add an ended attempt to the request's history."""
    last = connection.scalar(select(func.max(attempts.c.number)).where(attempts.c.request_id == request_id))
    connection.execute(insert(attempts), [_attempt_row(request_id, (last or 0) + 1, run_id, result, now)])


def _attempt_row(
    request_id: str, number: int, run_id: str, result: tuple[RequestState, IngestError | None], now: datetime
) -> dict[str, Any]:
    state, error = result
    return {
        "request_id": request_id,
        "number": number,
        "run_id": run_id,
        "ended_at": now,
        "result": state,
        "error_code": error.code if error else None,
        "error_stage": error.stage if error else None,
        "error_cause": error.cause if error else None,
    }
