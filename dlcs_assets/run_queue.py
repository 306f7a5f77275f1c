"""The former name of a run coordinator, for a `dagster.yaml` that still names it: Dagster's own, each second."""

import logging

from dagster._core.run_coordinator import QueuedRunCoordinator

__all__ = ["PromptRunQueue"]

logging.getLogger(__name__).warning(
    "dagster.yaml names dlcs_assets.run_queue, class PromptRunQueue. Write instead, and keep the rest of its config: "
    "module: dagster._core.run_coordinator, class: QueuedRunCoordinator, config: {dequeue_interval_seconds: 1}"
)


class PromptRunQueue(QueuedRunCoordinator):
    """Looks for queued runs each second, where its config does not say how often."""

    @property
    def dequeue_interval_seconds(self) -> int:
        """Seconds between two looks."""
        return 1
