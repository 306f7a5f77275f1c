"""Requesting images: new requests, and the older ones that they supersede."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import TRANSITIONS, Event
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger.records import new_id, stages_of, stages_text
from dlcs_assets.ledger.tables import requests
from dlcs_assets.ledger.transitions import add_requests, change_state, hand_over, leave_backfill

_REPLACEABLE: Final = TRANSITIONS[Event.SUPERSEDED].before


@dataclass(slots=True)
class NewRequest:
    """A request to be made. `event` is one that makes a request; it decides about the state in which that begins.

    `renews`: a person asks for what is registered, and as far as is known nothing is wrong with what is stored.
    `backfill`: the one that it is of.
    """

    asset_id: AssetId
    lane: Lane
    due_at: datetime
    event: Event = Event.REQUESTED
    batch: int | None = None
    stages: frozenset[Stage] = frozenset(STAGES)
    renews: bool = False
    backfill: int | None = None
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class _Replaceable:
    id: str
    lane: Lane
    stages: frozenset[Stage]
    renews: bool
    backfill: int | None


def create_requests(connection: Connection, wanted: Sequence[NewRequest], now: datetime) -> None:
    """Write new requests, in their order, all of them in a few statements.

    Each supersedes those for the same image that no chunk has yet. It takes over their stages and the most urgent lane;
    but a run that was launched by hand does what it was launched for, and supersedes only what is included in that.
    What is of no backfill takes their place in theirs.
    """
    earlier = _replaceable(connection, wanted)
    rows: dict[Event, list[dict[str, Any]]] = {}
    replaced: list[tuple[NewRequest, list[str]]] = []
    leaving: list[str] = []
    for new in wanted:
        others = earlier.setdefault(str(new.asset_id), [])
        by_hand = new.event is Event.LAUNCHED_BY_HAND
        stages = new.stages if by_hand else new.stages.union(*(other.stages for other in others))
        included = [other for other in others if other.stages <= stages]
        lane = new.lane.or_better(other.lane for other in others) if included else new.lane
        renews = new.renews and all(other.renews for other in included)
        of_others = [other.backfill for other in included if other.backfill is not None]
        backfill = of_others[-1] if new.backfill is None and of_others else new.backfill
        leaving += [other.id for other in included if other.backfill is not None and other.backfill == backfill]
        if included:
            replaced.append((new, [other.id for other in included]))
        others[:] = [other for other in others if other not in included]
        if not by_hand:
            others.append(_Replaceable(new.id, lane, stages, renews, backfill))
        row = request_row(new.id, new.asset_id, lane=lane, due_at=new.due_at, now=now, batch=new.batch, stages=stages)
        rows.setdefault(new.event, []).append(row | {"renews": renews, "backfill": backfill})
    for event, made in rows.items():
        add_requests(connection, event, made)
    if leaving:
        leave_backfill(connection, leaving)
    for new, ids in replaced:
        change_state(connection, Event.SUPERSEDED, requests.c.id.in_(ids), superseded_by=new.id, now=now)
        hand_over(connection, str(new.asset_id), ids, new.id)


def request_row(
    request_id: str,
    asset_id: AssetId,
    *,
    lane: Lane,
    due_at: datetime,
    now: datetime,
    batch: int | None = None,
    stages: frozenset[Stage] = frozenset(STAGES),
) -> dict[str, Any]:
    """Return the row of a new request, without its state."""
    return {
        "id": request_id,
        "image_id": str(asset_id),
        "customer": asset_id.customer,
        "space": asset_id.space,
        "lane": lane,
        "stages": stages_text(stages),
        "batch": batch,
        "created_at": now,
        "due_at": due_at,
    }


def _replaceable(connection: Connection, wanted: Sequence[NewRequest]) -> dict[str, list[_Replaceable]]:
    found: dict[str, list[_Replaceable]] = {}
    columns = (requests.c.id, requests.c.image_id, requests.c.lane, requests.c.stages)
    query = select(*columns, requests.c.renews, requests.c.backfill).where(
        requests.c.image_id.in_({str(new.asset_id) for new in wanted}),
        requests.c.state.in_(_REPLACEABLE),
        requests.c.lane != Lane.DELETE,
    )
    for row in connection.execute(query):
        other = _Replaceable(row.id, Lane(row.lane), stages_of(row.stages), row.renews, row.backfill)
        found.setdefault(row.image_id, []).append(other)
    return found
