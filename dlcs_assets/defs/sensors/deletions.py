"""From images that are to be deleted to run requests of the job `delete_images`."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from dlcs_assets.defs import tags
from dlcs_assets.defs.jobs.delete import DELETE_JOB
from dlcs_assets.defs.loggers import run_config
from dlcs_assets.defs.sensors.dispatch import PRIORITIES, Dispatched, is_lost, plan_chunks, without_run
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import Chunk
from dlcs_assets.settings import Settings

CHUNKS_IN_FLIGHT = 1  # a deletion is a few requests: one run at a time keeps up with any API


def dispatch_deletions(instance: dg.DagsterInstance, ledger: Ledger, settings: Settings) -> Dispatched:
    """Return requests for a run over what is to be deleted; again for a chunk whose run is not known."""
    lane = Lane.DELETE
    chunks = [chunk for chunk in without_run(instance, ledger, [lane]) if is_lost(chunk)]
    allowed = ledger.launches.permission(datetime.now(UTC))
    if allowed.paused:
        return Dispatched(note=allowed.reason)
    room = CHUNKS_IN_FLIGHT - sum(count for (where, _), count in ledger.dispatch.in_flight().items() if where is lane)
    if room > 0 and allowed.chunks:
        now = datetime.now(UTC)
        due = ledger.dispatch.due([lane], limit=settings.chunk_size, now=now)
        planned = plan_chunks(due, lane, settings.chunk_size)[: allowed.chunks]
        chunks += ledger.dispatch.reserve(planned, now)
    return Dispatched([_run_request(chunk, settings) for chunk in chunks], allowed.reason or "nothing is to be deleted")


def _run_request(chunk: Chunk, settings: Settings) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=chunk.id,
        job_name=DELETE_JOB,
        run_config=run_config(settings.log_format),
        tags={
            tags.CHUNK: chunk.id,
            tags.CUSTOMER: str(chunk.customer),
            tags.SPACE: str(chunk.space),
            tags.LANE: chunk.lane.value,
            tags.IMAGES: str(len(chunk.images)),
            tags.PRIORITY: str(PRIORITIES[chunk.lane]),
        },
    )
