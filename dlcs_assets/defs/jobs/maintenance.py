"""The job `maintenance`: its steps, and when it runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from dlcs_assets.defs import shown
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.jobs.prune_partitions import Window, prune
from dlcs_assets.defs.jobs.prune_runs import delete_old_runs
from dlcs_assets.ingest.scratch import clear_scratch
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

MAINTENANCE_JOB = "maintenance"
SCRATCH_RETENTION = timedelta(days=1)

Step = Callable[[bool], dict[str, int]]


class MaintenanceConfig(dg.Config):
    """What a person may choose in the launchpad."""

    dry_run: bool = Field(default=False, description="Only report what would be deleted.")


def maintenance_job(asset_graph: Callable[[], Any]) -> dg.JobDefinition:
    """Return the job, which does what the settings say about how long things are kept.

    `asset_graph` returns that of the definitions which the job is to be part of.
    """

    @dg.op(
        name="enforce_retention",
        description="Takes quiet images out of the partitions, deletes old runs and the ledger's old history, and "
        "clears what killed runs left in the scratch folder. A step that fails does not keep the others from running.",
    )
    def enforce_retention(
        context: dg.OpExecutionContext,
        config: MaintenanceConfig,
        settings: dg.ResourceParam[Settings],
        ledger: dg.ResourceParam[Ledger],
    ) -> None:
        steps = _steps(context.instance, asset_graph(), ledger, settings, datetime.now(UTC))
        _enforce(context, steps, config.dry_run)

    @dg.job(name=MAINTENANCE_JOB, description="Keeps Dagster and the ledger from growing without end, every night.")
    def maintenance() -> None:
        enforce_retention()

    return maintenance


def _steps(
    instance: dg.DagsterInstance, asset_graph: Any, ledger: Ledger, settings: Settings, now: datetime
) -> dict[str, Step]:
    """Return what is done, in its order; each step takes `dry_run` and returns counts by name."""
    window = Window(now - settings.partition_window, settings.partition_keys)
    return {
        "partitions": lambda dry_run: prune(
            instance, Catalog.of(settings), asset_graph, ledger, window, dry_run=dry_run
        ),
        "runs": lambda dry_run: delete_old_runs(
            instance, Catalog.of(settings), before=now - settings.run_retention, dry_run=dry_run
        ),
        "ledger": lambda dry_run: ledger.retention.enforce(
            history=now - settings.history_retention, bodies=now - settings.rejected_retention, dry_run=dry_run
        ),
        "scratch": lambda dry_run: clear_scratch(
            settings.scratch, ledger.claims.claimed_requests(), before=now - SCRATCH_RETENTION, dry_run=dry_run
        ),
    }


def _enforce(context: dg.OpExecutionContext, steps: dict[str, Step], dry_run: bool) -> None:
    done: dict[str, Any] = {"dry run": dry_run}
    failed: list[str] = []
    for name, step in steps.items():
        try:
            counts = step(dry_run)
        except Exception as error:  # the others are done nevertheless
            context.log.exception("maintenance of %s failed", name)
            failed.append(f"{name} ({type(error).__name__}: {error})")
            continue
        done |= {f"{name}: {what}": count for what, count in counts.items()}
        summary = ", ".join(f"{count} {what}" for what, count in counts.items())
        context.log.info("%s%s: %s", name, " (dry run)" if dry_run else "", summary)
    if failed:
        raise shown.failure(
            f"Maintenance failed of {'; '.join(failed)}. The other steps are done; the next run continues where this "
            "one stopped. The traceback is in this run's log.",
            done,
        )
    context.add_output_metadata(done)
