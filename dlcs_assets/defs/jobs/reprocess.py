"""The job by which a person makes a customer's images again from the Dagster UI, scattered ones included."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from dlcs_assets.defs import tags
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import (
    ReprocessEstimate,
    ReprocessSelector,
    describe,
    request_reprocessing,
    select_images,
)
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

BACKFILL_JOB = "backfill_customer_spaces"


class BackfillConfig(dg.Config):
    """Which images, and what of them. All that is given holds."""

    customer: int = Field(description="The customer's number.")
    space: int | None = Field(default=None, description="One of its spaces; empty: all of them.")
    stage: Stage | None = Field(default=None, description="From this stage on; empty: all stages.")
    policy: str | None = Field(default=None, description="Images that have a policy of this name in a channel.")
    match: str | None = Field(default=None, description="Images whose own name matches this glob, such as page-*.")
    reason: str | None = Field(default=None, description="Images that failed for this reason (its code).")
    outdated: bool = Field(default=False, description="Only what would come out otherwise today, see dlcs stale.")
    dry_run: bool = Field(default=True, description="Say what would be done, and do nothing.")


def backfill_job(settings: Settings) -> dg.JobDefinition:
    """Return the job: it writes requests; the sensors launch the runs, so many at a time as the settings allow."""

    @dg.op(name="ask_for_images", description="Writes a request for every image that is meant.")
    def ask_for_images(
        context: dg.OpExecutionContext, ledger: dg.ResourceParam[Ledger], config: BackfillConfig
    ) -> None:
        selector = ReprocessSelector(
            config.customer,
            config.space,
            config.stage,
            config.policy,
            config.match,
            config.reason,
            config.outdated,
        )
        run_tags = {tags.CUSTOMER: str(config.customer)} | ({tags.SPACE: str(config.space)} if config.space else {})
        context.instance.add_run_tags(context.run_id, run_tags)
        estimate = ReprocessEstimate()
        items = list(select_images(ledger, selector, ingest_policy(settings), estimate))
        if not config.dry_run:
            request_reprocessing(ledger, items, now=datetime.now(UTC))
        lines = describe(estimate, settings.backfill_runs * settings.images_in_flight, dry_run=config.dry_run)
        for line in lines:
            context.log.info(line)
        context.add_output_metadata(
            {
                "images": estimate.images,
                "bytes to read": estimate.bytes,
                "what": dg.MetadataValue.md("\n\n".join(lines)),
                "dry run": config.dry_run,
            }
        )

    @dg.job(
        name=BACKFILL_JOB,
        description="Makes images of a customer again: all, of one space, of one policy, from one stage on. With "
        "dry_run it says what that comes to. The runs follow in the backfill lane.",
    )
    def backfill_customer_spaces() -> None:
        ask_for_images()

    return backfill_customer_spaces
