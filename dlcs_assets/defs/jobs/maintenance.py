"""The job `maintenance`: its steps, and when it runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from dlcs_assets.defs.jobs.prune_partitions import Window, prune
from dlcs_assets.defs.jobs.prune_runs import delete_old_runs
from dlcs_assets.ingest.scratch import clear_scratch
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

JOB_NAME = "maintenance"
SCRATCH_RETENTION = timedelta(days=1)

Step = Callable[[bool], dict[str, int]]


class Rules(dg.Config):
    """What a person may choose in the launchpad."""

    dry_run: bool = Field(default=False, description="Only report what would go.")


def maintenance_job(settings: Settings, asset_graph: Callable[[], Any]) -> dg.JobDefinition:
    """Return the job, which does what the settings say about how long things are kept.

    `asset_graph` gives that of the definitions which the job is to be part of.
    """

    @dg.op(
        name="keep_house",
        description="Takes quiet images out of the partitions, deletes old runs, lets the ledger forget old history, "
        "and clears what killed runs left in the scratch folder. A step that fails does not keep the others from it.",
    )
    def keep_house(context: dg.OpExecutionContext, config: Rules, ledger: dg.ResourceParam[Ledger]) -> None:
        to_do = _steps(context.instance, asset_graph(), ledger, settings, datetime.now(UTC))
        _keep_house(context, to_do, config.dry_run)

    @dg.job(name=JOB_NAME, description="Keeps Dagster and the ledger from growing without end. Runs every night.")
    def maintenance() -> None:
        keep_house()

    return maintenance


def _steps(
    instance: dg.DagsterInstance, asset_graph: Any, ledger: Ledger, settings: Settings, now: datetime
) -> dict[str, Step]:
    """Return what is done, in its order; each step takes `dry_run` and returns counts by name."""
    window = Window(now - settings.partition_window, settings.partition_keys)
    return {
        "partitions": lambda dry_run: prune(instance, asset_graph, ledger, window, dry_run=dry_run),
        "runs": lambda dry_run: delete_old_runs(instance, before=now - settings.run_retention, dry_run=dry_run),
        "ledger": lambda dry_run: ledger.retention.enforce(
            history=now - settings.history_retention, bodies=now - settings.rejected_retention, dry_run=dry_run
        ),
        "scratch": lambda dry_run: clear_scratch(
            settings.scratch, ledger.claims.claimed_requests(), before=now - SCRATCH_RETENTION, dry_run=dry_run
        ),
    }


def _keep_house(context: dg.OpExecutionContext, to_do: dict[str, Step], dry_run: bool) -> None:
    done: dict[str, Any] = {"dry run": dry_run}
    failed: list[str] = []
    for name, step in to_do.items():
        try:
            counts = step(dry_run)
        except Exception as error:  # the others are done all the same
            context.log.exception("maintenance of %s failed", name)
            failed.append(f"{name} ({type(error).__name__}: {error})")
            continue
        done |= {f"{name}: {what}": count for what, count in counts.items()}
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        context.log.info("%s%s: %s", name, " (dry run)" if dry_run else "", told)
    if failed:
        raise dg.Failure(
            f"Maintenance failed of {'; '.join(failed)}. The other steps are done; the next run goes on where this one "
            "stopped. The traceback is in this run's log.",
            metadata=done,
            allow_retries=False,
        )
    context.add_output_metadata(done)
