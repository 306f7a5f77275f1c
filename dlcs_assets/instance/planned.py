"""What Dagster writes of a run before it queues it: one planned event for each partition of each asset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dagster._core.events import DagsterEventType
from dagster._core.events.log import EventLogEntry


def are_planned(events: Sequence[EventLogEntry]) -> bool:
    """Tell whether all of a batch say that a partition is to be materialised."""
    planned = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    return all(event.is_dagster_event and event.dagster_event_type is planned for event in events)


def last_of_each_asset(events: Iterable[EventLogEntry]) -> list[EventLogEntry]:
    """Return the events that an asset's own row is made from: all others would be written over by them."""
    return list({event.get_dagster_event().asset_key: event for event in events}.values())
