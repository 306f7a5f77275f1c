"""The job by which a person reprocesses a customer's images from the Dagster UI, scattered ones included."""

from collections import deque
from typing import Final

import dagster as dg
from pydantic import Field

from dlcs_assets.defs import shown, tags
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import (
    ReprocessEstimate,
    ReprocessSelector,
    describe,
    request_reprocessing,
    select_images,
)
from dlcs_assets.ledger.backfills import BackfillCancelledError
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

REPROCESS_JOB: Final = "reprocess_images"


class ReprocessConfig(dg.Config):
    """Which images, and which of their stages. An image must meet all that is given."""

    customer: int | None = Field(default=None, description="The customer's number, unless it is for every customer.")
    every_customer: bool = Field(default=False, description="Images of every customer, and no number of one.")
    space: int | None = Field(default=None, description="One of its spaces; empty: all of them.")
    stage: Stage | None = Field(default=None, description="From this stage on; empty: all stages.")
    policy: str | None = Field(default=None, description="Images that have a policy of this name in a channel.")
    match: str | None = Field(default=None, description="Images whose own name matches this glob, such as page-*.")
    reason: str | None = Field(default=None, description="Images that failed for this reason (its code).")
    stale: bool = Field(default=False, description="Only results whose recipe is not today's, see dlcs stale.")
    dry_run: bool = Field(default=True, description="Report what would be done, and do nothing.")


@dg.op(name="request_reprocessing", description="Writes a request for every image that is selected.")
def _request_reprocessing(
    context: dg.OpExecutionContext,
    config: ReprocessConfig,
    settings: dg.ResourceParam[Settings],
    ledger: dg.ResourceParam[Ledger],
) -> None:
    selector = ReprocessSelector(
        config.customer,
        config.space,
        config.stage,
        config.policy,
        config.match,
        config.reason,
        config.stale,
    )
    if (config.customer is None) is not config.every_customer:
        raise shown.failure("Whose images? Give either the number of a customer, or every_customer: true")
    run_tags = {
        tag: str(number)
        for tag, number in ((tags.CUSTOMER, config.customer), (tags.SPACE, config.space))
        if number is not None
    }
    estimate = ReprocessEstimate()
    items = select_images(ledger, selector, ingest_policy(settings), estimate)
    backfill = None
    if config.dry_run:
        deque(items, maxlen=0)  # to its end: the estimate is of all of them
    else:
        try:
            backfill = request_reprocessing(
                ledger, selector, items, asked_by=f"run {context.run_id} of {REPROCESS_JOB}"
            )
        except BackfillCancelledError as error:
            raise shown.failure(str(error)) from error
    if backfill is not None:
        run_tags[tags.BACKFILL] = str(backfill)
    context.instance.add_run_tags(context.run_id, run_tags)
    lines = describe(estimate, settings.backfill_runs * settings.images_in_flight, backfill=backfill)
    for line in lines:
        context.log.info(line)
    context.add_output_metadata(
        {
            "images": estimate.images,
            "bytes to read": estimate.bytes,
            "summary": shown.as_lines(lines),
            "dry run": config.dry_run,
        }
        | ({"backfill": backfill} if backfill is not None else {})
    )


@dg.job(
    name=REPROCESS_JOB,
    description="Reprocesses images of a customer, or of every customer: all, of one space, of one policy, from one "
    "stage on. With dry_run it reports what that comes to. Otherwise that is a backfill: its runs follow, a few at a "
    "time.",
)
def reprocess_images() -> None:
    """Write requests; the sensors launch the runs, as many at a time as the settings allow."""
    _request_reprocessing()
