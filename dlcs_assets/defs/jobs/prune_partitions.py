"""Which images leave Dagster's partitions, and their leaving. What is known of an image survives it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.partitions import DISPATCH_LEASE, LEASE_WAIT, WorkingSet, image_ids, keys_in_use
from dlcs_assets.domain.partition_key import is_former
from dlcs_assets.ledger.ledger import Ledger

# Of keys that are deleted under one lease: well under a second, while dispatch waits for it for three.
SLICE = 100
PAUSE = timedelta(seconds=0.3)  # between leases: a process that waits for one tries ten times a second
PATIENCE = timedelta(seconds=30)
SURPLUS = 500  # keys that a tick takes out, once there are as many too many: it reads all that there are


@dataclass(frozen=True, slots=True)
class Window:
    """Images that ended before `quiet_before` leave, and of the others the longest quiet that are more than `most`."""

    quiet_before: datetime
    most: int


class DispatchBusyError(Exception):
    """Keys are moved by another process all the time, so that none could be taken out."""


def prune(
    instance: dg.DagsterInstance,
    catalog: Catalog,
    asset_graph: Any,
    ledger: Ledger,
    window: Window,
    *,
    dry_run: bool = False,
) -> dict[str, int]:
    """Delete the keys of images that are quiet or not registered; return how many there were, left and stay.

    A key of a run or backfill that has not ended stays, and so does that of an image with an unfinished request.
    Raises DispatchBusyError.
    """
    order = WorkingSet.of(instance, catalog).order
    leaving = choose(order, _quiet_since(ledger, order), window)
    if dry_run:
        working_set = WorkingSet.of(instance, catalog)
        gone = len(set(leaving) - keys_in_use(instance, working_set, asset_graph))
    else:
        gone = sum(_delete(instance, catalog, asset_graph, ledger, leaving, patience=PATIENCE))
    return {"pruned": gone, "kept": len(order) - gone}


def prune_surplus(instance: dg.DagsterInstance, catalog: Catalog, asset_graph: Any, ledger: Ledger, most: int) -> int:
    """Delete keys of the longest quiet images, once there are `SURPLUS` more than `most`; return how many left.

    Between two nights a backlog would make Dagster slow. Where dispatch is busy, the next tick continues.
    """
    order = WorkingSet.of(instance, catalog).order
    if len(order) < most + SURPLUS:
        return 0
    leaving = choose(order, _quiet_since(ledger, order), Window(datetime.min.replace(tzinfo=UTC), most))[:SURPLUS]
    gone = 0
    with suppress(DispatchBusyError):
        for deleted in _delete(instance, catalog, asset_graph, ledger, leaving, patience=LEASE_WAIT):
            gone += deleted
    return gone


def choose(order: Sequence[str], quiet_since: Mapping[str, datetime | None], window: Window) -> list[str]:
    """Return the keys that may leave, the longest quiet first; before them those that are no image's any more.

    `quiet_since` gives, for the keys of images that are registered, when their last request ended (None: not yet).
    """
    unknown = [key for key in order if key not in quiet_since or is_former(key)]
    known = {key: since for key, since in quiet_since.items() if not is_former(key)}
    quiet = sorted((since, key) for key, since in known.items() if since is not None)
    too_many = len(order) - len(unknown) - window.most
    return unknown + [
        key for position, (since, key) in enumerate(quiet) if since < window.quiet_before or position < too_many
    ]


def _quiet_since(ledger: Ledger, keys: Sequence[str]) -> dict[str, datetime | None]:
    key_of = image_ids(keys)
    found = ledger.reports.idle_since(list(key_of))
    return {key_of[image_id]: since for image_id, since in found.items()}


def _delete(
    instance: dg.DagsterInstance,
    catalog: Catalog,
    asset_graph: Any,
    ledger: Ledger,
    keys: Sequence[str],
    *,
    patience: timedelta,
) -> Iterator[int]:
    """Delete the keys that are still free to leave, some under each lease; yield how many left each time."""
    for start in range(0, len(keys), SLICE):
        if start:
            time.sleep(PAUSE.total_seconds())
        with ledger.dispatch.lease(DISPATCH_LEASE, wait=patience) as held:
            if not held:
                raise DispatchBusyError(
                    f"The partitions' keys were held by others for {patience.total_seconds():.0f} s. The next "
                    "maintenance goes on; if this comes again, see which sensor is busy all the time"
                )
            some = keys[start : start + SLICE]
            used = keys_in_use(instance, WorkingSet.of(instance, catalog), asset_graph)
            quiet_since = _quiet_since(ledger, some)
            asked_for = {key for key, since in quiet_since.items() if since is None and not is_former(key)}
            leaving = [key for key in some if key not in used | asked_for]
            for key in leaving:
                instance.delete_dynamic_partition(catalog.partitions_name, key)
        yield len(leaving)
