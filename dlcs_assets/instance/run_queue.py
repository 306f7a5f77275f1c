"""The queue of runs on this machine, looked at twice a second: a chunk that is alone waits no longer than that."""

from __future__ import annotations

from dagster._core.run_coordinator import QueuedRunCoordinator


class PromptRunQueue(QueuedRunCoordinator):
    """Dagster's own queue; `dequeue_interval_seconds` takes whole seconds only, and the least is one."""

    @property
    def dequeue_interval_seconds(self) -> float:  # type: ignore[override]
        """Seconds between two looks, to which the daemon adds what is left of its half second."""
        return 0.4
