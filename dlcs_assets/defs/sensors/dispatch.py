"""From due images to run requests: chunks of one customer, one space and one set of stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import dagster as dg

from dlcs_assets.customers import NoCustomersError, customer_source
from dlcs_assets.defs import tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.loggers import run_config
from dlcs_assets.defs.partitions import DISPATCH_LEASE, LEASE_WAIT, WorkingSet, arrange, keys_in_use
from dlcs_assets.domain.customers import Customers
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.request_states import LOSSES_AMONG_OTHERS
from dlcs_assets.domain.stages import STAGES, Lane
from dlcs_assets.ingest.fair_share import Allotment, Allotments, allocate, allot
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import Chunk, DueImage, created_at, new_id
from dlcs_assets.settings import Settings

# A run that was requested does not exist for a moment. Several sensors may see that, and Dagster drops a second request
# for the same run only if it comes from the same sensor.
LAUNCH_GRACE = timedelta(seconds=10)
# Which run Dagster takes from its queue next. What a person launches has 0.
PRIORITIES = {
    Lane.PRIORITY: 10,
    Lane.INGEST: 0,
    Lane.MANUAL: 0,
    Lane.DELETE: 0,
    Lane.RETRY: -2,
    Lane.BACKFILL: -5,
}
OVER_PARTITIONS = frozenset(Lane) - {Lane.DELETE}  # a run that deletes images needs no keys
FIRST_RUN_BOOST = 1  # on top of it: one customer's only run goes before another's second


@dataclass
class Dispatched:
    """The runs that a tick asks for, and why there are no more of them."""

    run_requests: list[dg.RunRequest] = field(default_factory=list)
    note: str = ""


def dispatch(
    instance: dg.DagsterInstance, asset_graph: Any, ledger: Ledger, lane: Lane, settings: Settings
) -> Dispatched:
    """Ask for a run for every chunk that has none yet, and for new chunks while there is room in the lane.

    The chunk's row is written first: whatever dies after that, a tick some seconds later asks for the same run again,
    and Dagster drops the request if the run is there already.
    """
    allotments = _turns(ledger, lane, settings)
    if not allotments.order and not ledger.dispatch.unlaunched([lane]):
        return Dispatched(note=_note(allotments, lane, settings))
    # Dagster's keys are moved by one dispatch at a time, whichever sensor or person started it.
    with ledger.dispatch.lease(DISPATCH_LEASE, wait=LEASE_WAIT) as held:
        if not held:
            return Dispatched(note="another sensor is dispatching; the next tick will")
        waiting = without_run(instance, ledger, OVER_PARTITIONS)
        allowed = ledger.launches.permission(datetime.now(UTC))
        if allowed.paused:
            return Dispatched(note=allowed.reason)
        allotments = _turns(ledger, lane, settings)  # others may have dispatched since
        in_flight = ledger.dispatch.in_flight()
        offers = _Offers(instance, asset_graph, ledger, lane, settings, allotments=allotments, waiting=waiting)
        lost = [chunk for chunk in waiting if chunk.lane is lane and is_lost(chunk)]
        chunks = [chunk for chunk in lost if offers.may_launch(chunk)][: max(allowed.chunks, 1)]
        planned = allocate(allotments, offers.of)[: max(allowed.chunks - len(chunks), 0)]
        chunks += ledger.dispatch.reserve(planned, offers.now)
        new = set(arrange(instance, Catalog.of(settings), [_keys(chunk) for chunk in chunks]))
    # Of an image that was away Dagster may no longer know the stages that its run will not make.
    partly = [image for chunk in chunks if 0 < len(chunk.stages) < len(STAGES) for image in chunk.images]
    ledger.results.report_again([str(image.asset_id) for image in partly if _key(image) in new])
    has_run = Counter({customer: count for (where, customer), count in in_flight.items() if where is lane})
    has_run.subtract(chunk.customer for chunk in lost)
    requests = []
    for chunk in chunks:
        requests.append(_run_request(chunk, settings, first=not has_run[chunk.customer]))
        has_run[chunk.customer] += 1
    return Dispatched(requests, allowed.reason or _note(allotments, lane, settings, offers.blocked))


def plan_chunks(due: Sequence[DueImage], lane: Lane, chunk_size: int) -> list[Chunk]:
    """Group due images by customer, space and stages into chunks of at most `chunk_size`, in their order.

    Images that may have killed a run are apart from those that have not, and after a second loss each has a chunk of
    its own. In the lane of backfills those of each backfill are apart: its runs can be found by it.
    """
    groups: dict[tuple[Any, ...], list[DueImage]] = {}
    for image in due:
        apart = image.request_id if image.losses >= LOSSES_AMONG_OTHERS else image.losses
        backfill = image.backfill if lane is Lane.BACKFILL else None
        group = (image.asset_id.customer, image.asset_id.space, image.stages, apart, backfill)
        groups.setdefault(group, []).append(image)
    chunks = []
    for (customer, space, stages, *_), images in groups.items():
        for start in range(0, len(images), chunk_size):
            part = tuple(images[start : start + chunk_size])
            first, last = partition_key(part[0].asset_id), partition_key(part[-1].asset_id)
            chunks.append(Chunk(new_id(), lane, customer, space, stages, first, last, part))
    return chunks


class _Offers:
    """What each customer has due in the lane, as chunks, less what is held.

    Runs and backfills in progress hold keys, and so do the chunks that wait for their run: an image may have been
    deleted and registered again since its chunk was reserved, and its key is still in the range of that one.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        asset_graph: Any,
        ledger: Ledger,
        lane: Lane,
        settings: Settings,
        *,
        allotments: Allotments,
        waiting: Sequence[Chunk],
    ) -> None:
        self.now = datetime.now(UTC)
        self.blocked = 0
        self._instance = instance
        self._asset_graph = asset_graph
        self._ledger = ledger
        self._lane = lane
        self._most = settings.chunk_size
        self._allotments = allotments
        self._catalog = Catalog.of(settings)
        # Of two chunks for one key, the older one comes first.
        self._first_chunk: dict[str, str] = {}
        for chunk in waiting:
            for key in _keys(chunk):
                self._first_chunk.setdefault(key, chunk.id)

    def of(self, turn: Allotment) -> list[Chunk]:
        """Return the customer's next chunks, the longest due images first."""
        limit = turn.max_chunks * self._most
        due = self._due(turn, limit)
        if held := self._held_if_any_of([_key(image) for image in due]):
            due = self._due(turn, limit + len(held))  # others must not wait behind those that are blocked
        movable = [image for image in due if _key(image) not in held]
        self.blocked += len(due) - len(movable)
        size = self._allotments.images_in_chunk(len(movable), turn.max_chunks, most=self._most)
        return plan_chunks(movable[:limit], self._lane, size)

    def may_launch(self, chunk: Chunk) -> bool:
        """Return whether nothing else holds a key of this chunk, which waits for its run."""
        keys = _keys(chunk)
        first = all(self._first_chunk[key] == chunk.id for key in keys)
        return first and self._used_if_any_of(keys).isdisjoint(keys)

    def _held_if_any_of(self, keys: Sequence[str]) -> frozenset[str]:
        """Return all keys that are held, or nothing where none of the given keys is."""
        held = self._used_if_any_of(keys).union(self._first_chunk)
        return frozenset() if held.isdisjoint(keys) else held

    def _used_if_any_of(self, keys: Sequence[str]) -> frozenset[str]:
        """Return all keys that runs or backfills in progress hold: to move one would pull it from under them.

        Nothing is asked, nor returned, where all the given keys are new.
        """
        return self._used if any(key in self._working_set.position for key in keys) else frozenset()

    def _due(self, turn: Allotment, limit: int) -> list[DueImage]:
        return self._ledger.dispatch.due([self._lane], limit=limit, now=self.now, customer=turn.customer)

    @cached_property
    def _working_set(self) -> WorkingSet:
        return WorkingSet.of(self._instance, self._catalog)

    @cached_property
    def _used(self) -> frozenset[str]:
        return frozenset(keys_in_use(self._instance, self._working_set, self._asset_graph))


def _turns(ledger: Ledger, lane: Lane, settings: Settings) -> Allotments:
    return allot(
        lane,
        ledger.dispatch.customers_due(lane, now=datetime.now(UTC)),
        ledger.dispatch.in_flight(),
        max_in_lane=_max_in(lane, settings),
        limit_of=_limits(settings),
    )


def _max_in(lane: Lane, settings: Settings) -> int:
    return settings.backfill_runs if lane is Lane.BACKFILL else settings.chunks_in_flight


def _limits(settings: Settings) -> Callable[[int], int | None]:
    """Return how many runs each customer may have in flight, as far as the customers file can be read."""
    customers = Customers({})
    with suppress(NoCustomersError):
        customers = customer_source(settings).customers()

    def limit_of(number: int) -> int | None:
        customer = customers.find(number)
        own = customer.runs_in_flight if customer else None
        return settings.customer_runs if own is None else own

    return limit_of


def _note(allotments: Allotments, lane: Lane, settings: Settings, blocked: int = 0) -> str:
    """Return why no more runs are launched."""
    reasons = []
    if blocked:
        reasons.append(f"{blocked} due images wait for runs or backfills that hold their partitions")
    if allotments.at_limit:
        who = ", ".join(map(str, allotments.at_limit))
        reasons.append(
            f"customers with as many runs in flight as they may have (runs_in_flight, DLCS_CUSTOMER_RUNS): {who}"
        )
    if not reasons and not allotments.room:
        variable = "DLCS_BACKFILL_RUNS" if lane is Lane.BACKFILL else "DLCS_CHUNKS_IN_FLIGHT"
        reasons.append(f"{_max_in(lane, settings)} runs of this lane are in flight already ({variable})")
    return "; ".join(reasons) or "nothing is due"


def without_run(instance: dg.DagsterInstance, ledger: Ledger, lanes: Collection[Lane]) -> list[Chunk]:
    """Return the chunks of these lanes whose run Dagster does not know, the oldest first."""
    unknown = []
    for chunk in ledger.dispatch.unlaunched(lanes):
        runs = instance.get_runs(dg.RunsFilter(tags={tags.CHUNK: chunk.id}), limit=1)
        if runs:
            ledger.dispatch.mark_launched(chunk.id, runs[0].run_id)
        else:
            unknown.append(chunk)
    return unknown


def is_lost(chunk: Chunk) -> bool:
    """Return whether the run of a chunk without one was requested so long ago that it has to be requested again."""
    return created_at(chunk.id) <= datetime.now(UTC) - LAUNCH_GRACE


def _key(image: DueImage) -> str:
    return partition_key(image.asset_id)


def _keys(chunk: Chunk) -> list[str]:
    return [_key(image) for image in chunk.images]


def _run_request(chunk: Chunk, settings: Settings, *, first: bool) -> dg.RunRequest:
    run_tags = {
        tags.RANGE_START: chunk.first_key,
        tags.RANGE_END: chunk.last_key,
        tags.CHUNK: chunk.id,
        tags.CUSTOMER: str(chunk.customer),
        tags.SPACE: str(chunk.space),
        tags.LANE: chunk.lane.value,
        tags.IMAGES: str(len(chunk.images)),
        tags.PRIORITY: str(PRIORITIES[chunk.lane] + (FIRST_RUN_BOOST if first else 0)),
    }
    for tag, of_images in (
        (tags.BATCH, {image.batch for image in chunk.images}),
        (tags.BACKFILL, {image.backfill for image in chunk.images}),
    ):
        if len(of_images) == 1 and None not in of_images:
            run_tags[tag] = str(of_images.pop())
    return dg.RunRequest(
        run_key=chunk.id,
        run_config=run_config(settings.log_format),
        tags=run_tags,
        asset_check_keys=[],
        asset_selection=[Catalog.of(settings).asset(stage) for stage in STAGES if stage in chunk.stages],
    )
