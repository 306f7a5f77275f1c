"""From due images to run requests: chunks of one customer, one space and one set of stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from dlcs_assets.assets import BATCH_TAG, CHUNK_TAG, CUSTOMER_TAG, LANE_TAG, SPACE_TAG
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.partitions import RANGE_END_TAG, RANGE_START_TAG, WorkingSet, arrange, keys_in_use
from dlcs_assets.resources.ledger.ledger import Ledger
from dlcs_assets.resources.ledger.records import Chunk, DueImage, new_id
from dlcs_assets.settings import Settings

DISPATCH_LEASE = "dispatch"  # held by whoever adds or moves keys
LEASE_WAIT = timedelta(seconds=3)
PRIORITIES = {Lane.PRIORITY: "10", Lane.INGEST: "0", Lane.RETRY: "-1", Lane.MANUAL: "0"}


@dataclass
class Dispatched:
    """The runs that a tick asks for, and why there are no more of them."""

    run_requests: list[dg.RunRequest] = field(default_factory=list)
    note: str = ""


def dispatch(
    instance: dg.DagsterInstance, asset_graph: Any, ledger: Ledger, lane: Lane, settings: Settings
) -> Dispatched:
    """Ask for a run for every chunk that has none yet, and for new chunks while there is room in the lane.

    The chunk's row is written first: whatever dies after that, the next tick asks for the same run again, and Dagster
    drops the request if the run is there already.
    """
    room = settings.chunks_in_flight - ledger.dispatch.in_flight([lane])
    limit = max(room, 0) * settings.chunk_size
    if not ledger.dispatch.unlaunched([lane]) and not ledger.dispatch.due([lane], limit=limit, now=datetime.now(UTC)):
        return Dispatched(note=_nothing_to_do(room, settings))
    # Dagster's keys are moved by one dispatch at a time, whichever sensor or person started it.
    with ledger.dispatch.lease(DISPATCH_LEASE, wait=LEASE_WAIT) as held:
        if not held:
            return Dispatched(note="another sensor is dispatching; the next tick will")
        lost = _without_run(instance, ledger, lane)
        now = datetime.now(UTC)
        due = ledger.dispatch.due([lane], limit=limit, now=now)
        used = _used_among(instance, asset_graph, [*(key for chunk in lost for key in _keys(chunk)), *map(_key, due)])
        if used:  # others of the lane must not wait behind those that are blocked
            due = ledger.dispatch.due([lane], limit=limit + len(used), now=now)
        movable = [image for image in due if _key(image) not in used]
        blocked = len(due) - len(movable)
        planned = plan_chunks(movable[:limit], lane, settings.chunk_size)[: max(room, 0)]
        chunks = [chunk for chunk in lost if used.isdisjoint(_keys(chunk))] + ledger.dispatch.reserve(planned, now)
        arrange(instance, [_keys(chunk) for chunk in chunks])
    note = f"{blocked} due images wait for runs or backfills that hold their partitions" if blocked else ""
    return Dispatched([_run_request(chunk) for chunk in chunks], note or _nothing_to_do(room, settings))


def plan_chunks(due: Sequence[DueImage], lane: Lane, chunk_size: int) -> list[Chunk]:
    """Group due images by customer, space and stages into chunks of at most `chunk_size`, in their order."""
    groups: dict[tuple[Any, ...], list[DueImage]] = {}
    for image in due:
        groups.setdefault((image.asset_id.customer, image.asset_id.space, image.stages), []).append(image)
    chunks = []
    for (customer, space, stages), images in groups.items():
        for start in range(0, len(images), chunk_size):
            part = tuple(images[start : start + chunk_size])
            first, last = partition_key(part[0].asset_id), partition_key(part[-1].asset_id)
            chunks.append(Chunk(new_id(), lane, customer, space, stages, first, last, part))
    return chunks


def _nothing_to_do(room: int, settings: Settings) -> str:
    if room <= 0:
        return f"{settings.chunks_in_flight} runs of this lane are in flight already (DLCS_CHUNKS_IN_FLIGHT)"
    return "nothing is due"


def _without_run(instance: dg.DagsterInstance, ledger: Ledger, lane: Lane) -> list[Chunk]:
    lost = []
    for chunk in ledger.dispatch.unlaunched([lane]):
        runs = instance.get_runs(dg.RunsFilter(tags={CHUNK_TAG: chunk.id}), limit=1)
        if runs:
            ledger.dispatch.launched(chunk.id, runs[0].run_id)
        else:
            lost.append(chunk)
    return lost


def _used_among(instance: dg.DagsterInstance, asset_graph: Any, keys: Sequence[str]) -> set[str]:
    """Return the keys that runs or backfills in progress hold: to move one would pull it from under them.

    Nothing is asked where all the given keys are new.
    """
    working_set = WorkingSet.of(instance)
    if not any(key in working_set.position for key in keys):
        return set()
    return keys_in_use(instance, working_set, asset_graph)


def _key(image: DueImage) -> str:
    return partition_key(image.asset_id)


def _keys(chunk: Chunk) -> list[str]:
    return [_key(image) for image in chunk.images]


def _run_request(chunk: Chunk) -> dg.RunRequest:
    tags = {
        RANGE_START_TAG: chunk.first_key,
        RANGE_END_TAG: chunk.last_key,
        CHUNK_TAG: chunk.id,
        CUSTOMER_TAG: str(chunk.customer),
        SPACE_TAG: str(chunk.space),
        LANE_TAG: chunk.lane.value,
        "dagster/priority": PRIORITIES[chunk.lane],
    }
    batches = {image.batch for image in chunk.images}
    if len(batches) == 1 and None not in batches:
        tags[BATCH_TAG] = str(batches.pop())
    return dg.RunRequest(
        run_key=chunk.id,
        tags=tags,
        asset_selection=[dg.AssetKey(stage.value) for stage in STAGES if stage in chunk.stages],
    )
