"""The job that deletes images: their objects in our own buckets, their partitions, and no one else's."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dlcs_assets.clients.storage import Storage
from dlcs_assets.defs import shown, tags
from dlcs_assets.defs.catalog import Catalog
from dlcs_assets.defs.partitions import DISPATCH_LEASE, LEASE_WAIT, WorkingSet, keys_in_use
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.ingest.deletion import delete_images
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ledger.deletions import DeletionClaim
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings

DELETE_JOB = "delete_images"


def delete_job(asset_graph: Callable[[], Any]) -> dg.JobDefinition:
    """Return the job. The sensor `asset_modified` launches it, for a chunk of images."""

    @dg.op(name="delete_objects", description="Deletes everything of each image from the storage and thumbnail bucket.")
    def delete_op(
        context: dg.OpExecutionContext,
        settings: dg.ResourceParam[Settings],
        ledger: dg.ResourceParam[Ledger],
        storage: dg.ResourceParam[Storage],
    ) -> None:
        chunk_id = context.run.tags.get(tags.CHUNK)
        schedule = retry_schedule(settings)
        ledger.claims.end_former(context.run_id, schedule=schedule, now=datetime.now(UTC))
        claim = ledger.deletions.claim(chunk_id, context.run_id, now=datetime.now(UTC)) if chunk_id else None
        if claim is None:
            raise shown.failure("This run has no images to delete. To delete some: dlcs delete ID")
        try:
            _delete(context, claim, ledger, storage, settings)
        finally:
            ledger.claims.release(claim.token, claim.run_id, schedule=schedule, now=datetime.now(UTC))
            deleted = [deletion.asset_id for deletion in claim.deletions]
            forget_partitions(context.instance, Catalog.of(settings), asset_graph(), ledger, deleted)

    @dg.job(
        name=DELETE_JOB,
        description="Deletes images that the DLCS's API, or a person at the command line, asked to be deleted.",
    )
    def job() -> None:
        delete_op()

    return job


def _delete(
    context: dg.OpExecutionContext, claim: DeletionClaim, ledger: Ledger, storage: Storage, settings: Settings
) -> None:
    failed = []
    rows: list[tuple[str, int, str]] = []
    tells_cdn = settings.invalidation_topic_arn is not None
    deleting = delete_images(
        claim, ledger, storage, retry_schedule(settings), tells_cdn=tells_cdn, heartbeat=settings.heartbeat
    )
    for ended in deleting:
        if ended.state is None:
            context.log.warning("%s was given to another run", ended.asset_id)
        elif ended.error is not None:
            context.log.error("%s is not deleted: %s", ended.asset_id, ended.error)
        else:
            rows.append((str(ended.asset_id), ended.deleted, ", ".join(ended.left) or "nothing"))
        if ended.invalidated:
            context.log.info("%s: a CDN is to forget %s", ended.asset_id, " ".join(ended.invalidated))
        if ended.state is RequestState.FAILED:
            failed.append(str(ended.asset_id))
    context.add_output_metadata({"deleted": shown.as_table(("image", "objects deleted", "skipped"), rows)})
    if failed:
        raise shown.failure(f"Not deleted: {', '.join(failed)}. See the log, then: dlcs retry")


def forget_partitions(
    instance: dg.DagsterInstance, catalog: Catalog, asset_graph: Any, ledger: Ledger, asset_ids: Collection[AssetId]
) -> None:
    """Take the keys of what is deleted out of the working set, but for those that a run or backfill holds.

    A run may stand still for long before it comes here: what was registered again meanwhile keeps its key. What stays
    for now is found by maintenance.
    """
    with ledger.dispatch.lease(DISPATCH_LEASE, wait=LEASE_WAIT) as held:
        if not held:
            return
        registered = ledger.reports.idle_since([str(asset_id) for asset_id in asset_ids])
        keys = {partition_key(asset_id) for asset_id in asset_ids if str(asset_id) not in registered}
        working_set = WorkingSet.of(instance, catalog)
        there = keys.intersection(working_set.position)
        if there:
            for key in there - keys_in_use(instance, working_set, asset_graph):
                instance.delete_dynamic_partition(catalog.partitions_name, key)
