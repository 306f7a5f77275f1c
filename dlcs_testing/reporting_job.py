"""A run that reports outcomes to Dagster and does nothing else: by the reporter, or one by one as Dagster does it.

As a program it works on images of a ledger and is killed on the way.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from dlcs_assets.defs import tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.materializations import UPSTREAM, Upstream, materialization
from dlcs_assets.defs.reporting import FailureReport, Report, Reporter
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import asset_id_of, partition_key
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, Outcome, Stage
from dlcs_assets.ledger import Ledger
from dlcs_testing.one_write import commit_stage

CATALOG = Catalog()
MOMENTS = ("after the originals", "after the jp2s", "before the ledger knows")

Reported = tuple[AssetId, Stage, str]
Work = Callable[[dg.AssetExecutionContext], Iterator[dg.DagsterEvent | dg.AssetMaterialization]]


def outcome(stage: Stage, version: str) -> StageResult:
    """Return what a stage may end with."""
    facts = {"bytes": 1234, "width": 480, "height": 360, "sizes": [[400, 300], [100, 75]], "tile_ready": True}
    return StageResult(stage, Outcome.MADE, version, facts)


def reports_of(images: Sequence[str]) -> list[Report]:
    """Return the outcomes of images, each image's in the order of the stages."""
    return [
        Report(
            asset_id,
            f"request-{asset_id.asset}",
            outcome(stage, f"{stage.value}-{asset_id.asset}"),
            picture=b"jpeg" if stage is Stage.THUMBNAILS else None,
            links={"info": "https://images.example.org/info.json"},
        )
        for asset_id in map(AssetId.parse, images)
        for stage in STAGES
    ]


def run(instance: dg.DagsterInstance, images: Sequence[str], work: Work) -> dg.ExecuteInProcessResult:
    """Execute a run over images that does this."""

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                CATALOG.asset(stage),
                deps=[CATALOG.asset(UPSTREAM[stage])] if stage in UPSTREAM else [],
                code_version="1",
                partitions_def=CATALOG.partitions,
                skippable=True,
            )
            for stage in STAGES
        ],
        backfill_policy=dg.BackfillPolicy.multi_run(1000),
    )
    def ingest(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent | dg.AssetMaterialization]:
        yield from work(context)

    keys = [partition_key(AssetId.parse(image)) for image in images]
    instance.add_dynamic_partitions(CATALOG.partitions_name, keys)
    job = dg.Definitions(assets=[ingest]).resolve_implicit_global_asset_job_def()
    over = {tags.RANGE_START: keys[0], tags.RANGE_END: keys[-1]}
    return job.execute_in_process(instance=instance, tags=over, raise_on_error=False)


def by_reporter(
    reports: Sequence[Report | FailureReport],
    marked: Callable[[Sequence[Reported]], None],
    failed: Callable[[Sequence[str]], None] = lambda _: None,
) -> Work:
    """Return work that gives all reports to the reporter."""

    def work(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent]:
        with Reporter(context, CATALOG, marked, failed) as reporter:
            for report in reports:
                reporter.add(report)
        yield from reporter.stored()

    return work


def one_by_one(reports: Sequence[Report]) -> Work:
    """Return work that yields all reports, as Dagster has it without us."""

    def work(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
        upstream = Upstream(context.instance, CATALOG)
        for each in reports:
            made_from = upstream.tags(each.result.stage, [each.key]).get(each.key)
            yield materialization(
                each.asset_id,
                each.request_id,
                each.result,
                catalog=CATALOG,
                made_from=made_from,
                picture=each.picture,
                links=each.links,
            )

    return work


def main(ledger_url: str, moment: str) -> None:
    """Claim all that is due, have every stage's outcome in the ledger, report it, and be killed at this moment."""
    with dg.DagsterInstance.get() as instance:
        ledger = Ledger(ledger_url)

        def killing(context: dg.AssetExecutionContext) -> Iterator[dg.DagsterEvent | dg.AssetMaterialization]:
            now = datetime.now(UTC)
            images = [asset_id_of(key) for key in context.partition_keys]
            claim = ledger.claims.claim_images(images, STAGES, context.run_id, now=now)
            reports = [Report(item.asset_id, item.request_id, outcome(s, "v1")) for item in claim.items for s in STAGES]
            items = {item.asset_id: item for item in claim.items}
            for each in reports:
                commit_stage(ledger.results, claim, items[each.asset_id], each.result, now=now)
            asset = {MOMENTS[0]: Stage.ORIGINAL, MOMENTS[1]: Stage.JP2}.get(moment)

            def watch(entry: dg.EventLogEntry) -> None:
                """Dagster calls this when events are stored."""
                event = entry.dagster_event
                if asset and event and event.is_step_materialization and event.asset_key == CATALOG.asset(asset):
                    _die()

            instance.add_event_listener(context.run_id, watch)
            yield from by_reporter(reports, lambda _reported: _die())(context)

        run(
            instance,
            [str(asset_id_of(key)) for key in instance.get_dynamic_partitions(CATALOG.partitions_name)],
            killing,
        )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
