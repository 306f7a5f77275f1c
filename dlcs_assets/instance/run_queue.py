"""Dagster's queue of runs, with all its limits derived from one number that a deployment gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._serdes.config_class import ConfigurableClassData


class ScaledRunQueue(QueuedRunCoordinator):
    """Dagster's own queue, whose limits follow from `runs_in_flight`."""

    @classmethod
    def config_type(cls) -> Any:
        """Return Dagster's own configuration, and the number."""
        number = dg.Field(dg.IntSource, description="Runs in progress at a time; the limits of lanes follow from it.")
        own: Any = super().config_type()
        return {**own, "runs_in_flight": number}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Return the queue for a configuration."""
        config = {name: value for name, value in config_value.items() if name != "runs_in_flight"}
        runs: int = config_value["runs_in_flight"]
        limits = {"max_concurrent_runs": runs, "tag_concurrency_limits": lane_limits(runs)}
        return super().from_config_value(inst_data, {**config, **limits})


def lane_limits(runs: int) -> list[dict[str, Any]]:
    """Return how many of the runs may be of one lane, of reprocessing, and of backfills that the UI launched.

    No lane takes all of them, so that priority images and a person's runs don't wait behind a long queue. Backfills of
    the UI have no lane or customer in the queue, only once they have begun.
    """
    a_lane, reprocessing = max(1, runs - max(1, runs // 4)), max(1, runs // 2)
    return [
        {"key": "dlcs/lane", "value": {"applyLimitPerUniqueValue": True}, "limit": a_lane},
        {"key": "dlcs/lane", "value": "backfill", "limit": reprocessing},
        {"key": "dagster/backfill", "limit": reprocessing},
    ]
