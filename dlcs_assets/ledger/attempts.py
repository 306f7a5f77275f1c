"""One image held by one run: the claim on it, and the end of the attempt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, delete, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, ServiceDownError, TransientError
from dlcs_assets.domain.signed_url import is_signed, unsigned
from dlcs_assets.domain.stages import UNFINISHED, Lane, RequestState
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.tables import attempts, chunks, claims, images, requests

# Of a request that is tried again. A backfill stays in its lane: it may be large, and a service down for long.
STAYING = (Lane.BACKFILL, Lane.DELETE)
NEXT_LANE = case((requests.c.lane.in_(STAYING), requests.c.lane), else_=Lane.RETRY)


class ClaimLostError(Exception):
    """The run no longer holds the image: it was given to somebody else. Publish nothing more for it."""


def check_claim(connection: Connection, token: str, asset_id: AssetId) -> int:
    """Raise ClaimLostError unless the token holds the image, within the transaction that relies on it.

    Returns how many bytes of the customer's quota are reserved for the image.
    """
    query = select(claims.c.token, claims.c.reserved_bytes).where(claims.c.image_id == str(asset_id))
    row = connection.execute(query).one_or_none()
    if row is None or row.token != token:
        raise ClaimLostError(f"{asset_id} is no longer this run's to work on")
    reserved: int = row.reserved_bytes
    return reserved


def take_chunk(connection: Connection, chunk_id: str, run_id: str) -> bool:
    """Note that the chunk is this run's; False if it is another's, or ended."""
    chunk = connection.execute(select(chunks).where(chunks.c.id == chunk_id)).one_or_none()
    if chunk is None or chunk.closed_at is not None or chunk.run_id not in {None, run_id}:
        return False
    connection.execute(update(chunks).where(chunks.c.id == chunk_id).values(run_id=run_id))
    return True


def hold(connection: Connection, rows: Sequence[Row[Any]], token: str, run_id: str, now: datetime) -> None:
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
    ids = [row.id for row in rows]
    connection.execute(update(requests).where(requests.c.id.in_(ids)).values(state=RequestState.RUNNING))


def end_attempt(
    connection: Connection,
    request_id: str,
    run_id: str,
    error: IngestError | None,
    *,
    schedule: RetrySchedule,
    now: datetime,
    well: RequestState = RequestState.DONE,
) -> RequestState:
    """End an attempt and its claim: well, failed, or pending again if the failure may pass; return which."""
    row = connection.execute(select(requests).where(requests.c.id == request_id)).one()
    attempt = row.attempts + (0 if isinstance(error, ServiceDownError) else 1)
    values: dict[str, object] = {"attempts": attempt, "chunk_id": None}
    if error is None:
        state = well
    elif isinstance(error, ServiceDownError) or (isinstance(error, TransientError) and attempt < schedule.attempts):
        state = RequestState.PENDING
        values["lane"] = NEXT_LANE
        values["due_at"] = schedule.next_due(now, attempt, error.retry_after)
    else:
        state = RequestState.FAILED
    if state is not RequestState.PENDING:
        values["finished_at"] = now
    connection.execute(
        update(requests)
        .where(requests.c.id == request_id)
        .values(
            state=state,
            error_code=error.code if error else None,
            error_stage=error.stage if error else None,
            error_cause=error.cause if error else None,
            error_remedy=error.remedy if error else None,
            **values,
        )
    )
    note_attempt(connection, request_id, run_id, (state, error), now)
    if state is RequestState.DONE:
        _forget_signature(connection, row.image_id)
    connection.execute(delete(claims).where(claims.c.image_id == row.image_id))
    return state


def _forget_signature(connection: Connection, image_id: str) -> None:
    """Keep no right to read for longer than it is needed: till the image is done, if nobody has asked for it anew."""
    registration = connection.scalar(select(images.c.registration).where(images.c.id == image_id))
    if registration and is_signed(registration["origin"]):
        asked = select(requests.c.id).where(requests.c.image_id == image_id, requests.c.state.in_(UNFINISHED))
        if connection.execute(asked.limit(1)).first():
            return
        changed = {**registration, "origin": unsigned(registration["origin"])}
        connection.execute(update(images).where(images.c.id == image_id).values(registration=changed))


def note_attempt(
    connection: Connection,
    request_id: str,
    run_id: str,
    result: tuple[RequestState, IngestError | None],
    now: datetime,
) -> None:
    """Add an ended attempt to the request's history."""
    state, error = result
    made = select(attempts.c.number).where(attempts.c.request_id == request_id)
    connection.execute(
        insert(attempts).values(
            request_id=request_id,
            number=len(connection.execute(made).all()) + 1,
            run_id=run_id,
            ended_at=now,
            result=state,
            error_code=error.code if error else None,
            error_stage=error.stage if error else None,
            error_cause=error.cause if error else None,
        )
    )
