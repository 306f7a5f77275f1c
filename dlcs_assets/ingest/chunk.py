"""Many images at a time: each goes through its stages in a thread of its own; what happens is told as it happens."""

from __future__ import annotations

import errno
import logging
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.ingest_plan import Conversion
from dlcs_assets.domain.ingest_spec import IngestPolicy
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import StageResult, WorkItem
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.domain.storage_keys import transient_key
from dlcs_assets.ingest.cleanup import paths_to_close, tidy
from dlcs_assets.ingest.job import Job, Services
from dlcs_assets.ingest.jp2 import make_jp2
from dlcs_assets.ingest.original import drop_transient, make_original
from dlcs_assets.ingest.scratch import folder_name
from dlcs_assets.ingest.threads import DaemonThreads
from dlcs_assets.ingest.thumbnails import make_thumbnails
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.results import Claim, ClaimLostError

log = logging.getLogger(__name__)

# How long a run that is told to end waits for calls in progress, in each of three places: ECS kills after 30 seconds.
GRACE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage of an image has ended well and the ledger has it. `picture` is a small JPEG that anyone may see."""

    item: WorkItem
    result: StageResult
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class ImageEnded:
    """An image has ended this attempt. `state` is None if another run took it over meanwhile."""

    item: WorkItem
    state: RequestState | None
    error: IngestError | None = None


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How a chunk is worked on."""

    scratch: Path
    images_in_flight: int
    thumbnails_in_flight: int
    heartbeat: timedelta
    schedule: RetrySchedule


def ingest_chunk(
    claim: Claim, ledger: Ledger, services: Services, rules: IngestPolicy, options: ChunkOptions
) -> Iterator[StageDone | ImageEnded]:
    """Work on all images of the claim; yield what happens, in the order in which it happens.

    At the end, also if the iterator is closed early, what is unfinished is given back.
    """
    happened: queue.SimpleQueue[StageDone | ImageEnded] = queue.SimpleQueue()
    stop = threading.Event()
    pulse = threading.Thread(target=_keep_alive, args=(ledger, claim.token, options.heartbeat, stop), daemon=True)
    pulse.start()
    images = DaemonThreads(options.images_in_flight, "image")
    sizes = DaemonThreads(options.thumbnails_in_flight, "thumbnail")
    worker = _Worker(claim, ledger, services, rules, options, sizes, stop, happened)
    unfinished = {item.request_id for item in claim.items}
    try:
        for item in claim.items:
            images.submit(worker.work_on, item)
        while unfinished:
            event = happened.get()
            if isinstance(event, ImageEnded):
                unfinished.discard(event.item.request_id)
            yield event
    finally:
        stop.set()
        _release(claim, ledger, options)
        # All is done, or the run is told to end: then others may have the images already.
        patience = GRACE_SECONDS if unfinished else None
        images.abandon(patience)
        sizes.abandon(patience)
        pulse.join(patience)


@dataclass(frozen=True, slots=True)
class _Worker:
    claim: Claim
    ledger: Ledger
    services: Services
    rules: IngestPolicy
    options: ChunkOptions
    sizes: Executor
    stop: threading.Event
    happened: queue.SimpleQueue[StageDone | ImageEnded]

    def work_on(self, item: WorkItem) -> None:
        error: IngestError | None = None
        state: RequestState | None = None
        folder = self.options.scratch / folder_name(item.request_id, self.claim.token)
        began, about = time.monotonic(), self._about(item)
        try:
            folder.mkdir(parents=True)
            try:
                self._stages(item, folder)
            except IngestError as raised:
                error = raised
            state = self.ledger.results.finish(
                self.claim, item, error, schedule=self.options.schedule, now=datetime.now(UTC)
            )
            about["milliseconds"] = round((time.monotonic() - began) * 1000)
            log.info("%s is %s", item.asset_id, state.value, extra=about)
        except ClaimLostError:
            log.warning("%s was given to another run; this one leaves it alone", item.asset_id, extra=about)
        except Exception as raised:  # a bug costs one image, and says where it is
            log.exception("unexpected error at %s", item.asset_id, extra=about)
            error = _unexpected(raised)
            state = self._fail(item, error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.happened.put(ImageEnded(item, state, error))

    def _fail(self, item: WorkItem, error: IngestError) -> RequestState | None:
        try:
            return self.ledger.results.finish(
                self.claim, item, error, schedule=self.options.schedule, now=datetime.now(UTC)
            )
        except Exception:  # the ledger itself may be what failed; reconcile finds the image then
            log.exception("the ledger could not record the failure of %s", item.asset_id, extra=self._about(item))
            return None

    def _stages(self, item: WorkItem, folder: Path) -> None:
        stage = Stage.ORIGINAL
        job: Job | None = None
        try:
            job = Job(
                item,
                self.services,
                self.rules,
                folder,
                guard=lambda: self._guard(item),
                origins_among=self.ledger.reports.origins_among,
                reserve=partial(self.ledger.results.reserve_quota, self.claim, item),
            )
            for stage in STAGES:
                if stage in item.stages:
                    self._stage(job, stage)
            self._tidy(job)
        except IngestError as error:
            error.stage = error.stage or stage
            raise
        finally:
            if job and job.plan.transient:
                self._drop_transient(job)

    def _stage(self, job: Job, stage: Stage) -> None:
        self._guard(job.item)
        if stage in job.item.done and not _is_needed_again(job, stage):
            job.results[stage] = job.item.done[stage]
            self.happened.put(StageDone(job.item, job.item.done[stage]))
            return
        picture = None
        match stage:
            case Stage.ORIGINAL:
                result = make_original(job)
            case Stage.JP2:
                result = make_jp2(job)
            case Stage.THUMBNAILS:
                thumbnails = make_thumbnails(job, self.sizes)
                result, picture = thumbnails.result, thumbnails.picture
        # The plan may have become definite only now, with the original at hand.
        result = replace(result, recipe=job.spec.recipes()[stage])
        job.results[stage] = result
        invalidate = paths_to_close(job, result) if self.rules.tells_cdn else ()
        self.ledger.results.commit(self.claim, job.item, result, invalidate=invalidate, now=datetime.now(UTC))
        self.happened.put(StageDone(job.item, result, picture))

    def _tidy(self, job: Job) -> None:
        self._guard(job.item)
        gone = {(self.services.storage.storage_bucket, key) for key in tidy(job)}
        for stored in job.item.objects:
            if (stored.bucket, stored.key) in gone:
                self.ledger.results.remove_object(stored.bucket, stored.key)

    def _drop_transient(self, job: Job) -> None:
        try:
            drop_transient(job)
        except IngestError as error:  # the bucket's lifecycle rule deletes it within days
            log.warning(
                "the transient object of %s stays for now: %s", job.item.asset_id, error, extra=self._about(job.item)
            )
            return
        stored = job.services.storage.storage_bucket
        self.ledger.results.remove_object(stored, transient_key(job.item.asset_id, job.item.request_id))

    def _about(self, item: WorkItem) -> dict[str, str | int]:
        """Return the fields of a line in the log that is about this image."""
        return {"image": str(item.asset_id), "request": item.request_id, "run": self.claim.run_id}

    def _guard(self, item: WorkItem) -> None:
        if self.stop.is_set():
            raise ClaimLostError(f"the run is ending; {item.asset_id} is given back")
        self.ledger.claims.check(self.claim.token, item.asset_id)


def _release(claim: Claim, ledger: Ledger, options: ChunkOptions) -> None:
    try:
        ledger.claims.release_run(claim.run_id, schedule=options.schedule, now=datetime.now(UTC))
    except UNAVAILABLE:  # reconcile does it, once the claims are no longer renewed
        log.exception("the ledger could not take back the images of run %s", claim.run_id, extra={"run": claim.run_id})


def _is_needed_again(job: Job, stage: Stage) -> bool:
    """Tell whether a finished stage must be done over: the file that the conversion needs went with the old run."""
    unconverted = Stage.JP2 in job.item.stages and Stage.JP2 not in job.item.done
    return stage is Stage.ORIGINAL and unconverted and job.plan.conversion is not Conversion.NONE


def _unexpected(error: Exception) -> IngestError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return TransientError(
            "scratch_full",
            "The scratch folder's disk is full",
            remedy="Make room in DLCS_SCRATCH, or lower DLCS_IMAGES_IN_FLIGHT; the image is tried again by itself",
        )
    if isinstance(error, UNAVAILABLE):
        return TransientError(
            "ledger_unavailable",
            "The ledger's database did not answer",
            remedy="See that the database of DLCS_LEDGER_URL is up; the image is tried again by itself",
        )
    return PermanentError(
        "internal_error",
        f"An error that nobody foresaw: {type(error).__name__}",
        remedy="The traceback is in the run's log; please report it",
    )


def _keep_alive(ledger: Ledger, token: str, every: timedelta, stop: threading.Event) -> None:
    while not stop.wait(every.total_seconds()):
        try:
            ledger.claims.heartbeat(token, now=datetime.now(UTC))
        except Exception:  # one missed beat is no reason to give up: claims outlive several
            log.exception("heartbeat failed")
