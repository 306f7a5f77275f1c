"""Asking for an image: the request that is written, whoever asks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Lane, RequestState
from dlcs_assets.ledger.records import new_id, stages_of, stages_text
from dlcs_assets.ledger.tables import requests


def create_request(
    connection: Connection,
    asset_id: AssetId,
    *,
    lane: Lane,
    state: RequestState,
    due_at: datetime,
    now: datetime,
    batch: int | None = None,
    stages: str = stages_text(STAGES),
) -> str:
    """Write a new request. It takes the place of one for the same image that nobody has begun yet."""
    request_id = new_id()
    image_id = str(asset_id)
    unbegun = connection.execute(
        select(requests.c.id, requests.c.lane, requests.c.stages).where(
            requests.c.image_id == image_id,
            requests.c.state.in_([RequestState.PENDING, RequestState.WAITING]),
            requests.c.lane != Lane.DELETE,
        )
    ).all()
    if state is not RequestState.RESERVED:  # a run that a person launched does what it was launched for, and no more
        stages = stages_text(stages_of(stages).union(*(stages_of(row.stages) for row in unbegun)))
    replaced = [row.id for row in unbegun if stages_of(row.stages) <= stages_of(stages)]
    if replaced:
        connection.execute(
            update(requests)
            .where(requests.c.id.in_(replaced))
            .values(state=RequestState.SUPERSEDED, superseded_by=request_id)
        )
        connection.execute(
            update(requests).where(requests.c.superseded_by.in_(replaced)).values(superseded_by=request_id)
        )
        lane = lane.or_better(Lane(row.lane) for row in unbegun)
    row = request_row(request_id, asset_id, lane=lane, state=state, due_at=due_at, now=now, batch=batch, stages=stages)
    connection.execute(insert(requests).values(row))
    return request_id


def request_row(
    request_id: str,
    asset_id: AssetId,
    *,
    lane: Lane,
    state: RequestState,
    due_at: datetime,
    now: datetime,
    batch: int | None = None,
    stages: str = stages_text(STAGES),
) -> dict[str, Any]:
    """Return the row of a new request."""
    return {
        "id": request_id,
        "image_id": str(asset_id),
        "customer": asset_id.customer,
        "space": asset_id.space,
        "lane": lane,
        "stages": stages,
        "batch": batch,
        "state": state,
        "created_at": now,
        "due_at": due_at,
        "attempts": 0,
    }
