"""A run that cannot be started now goes back into Dagster's queue, and says what it waits for."""

from __future__ import annotations

from typing import Final

import dagster as dg

# The one kind of error after which Dagster's daemon puts a run back into its queue and pauses, if `dagster.yaml` says
# how often (max_user_code_failure_retries). For each other one the run fails.
from dagster._core.errors import DagsterUserCodeUnreachableError

from dlcs_assets.defs import tags

_LONGEST_REASON: Final = 300


class NoCapacityError(DagsterUserCodeUnreachableError):
    """A run cannot be started at this moment: the machine, or the cluster, has no room for it, or does not answer."""


def put_back(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str) -> NoCapacityError:
    """Write down why the run waits, in its log and as a tag, and return what the launcher is to raise."""
    reason = " ".join(reason.split())[:_LONGEST_REASON]
    instance.add_run_tags(run.run_id, {tags.WAITS_FOR: reason})
    instance.report_engine_event(f"The run cannot be started now, and is tried again automatically: {reason}", run)
    return NoCapacityError(reason)
