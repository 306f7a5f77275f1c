"""Many images at a time: each goes its way in a thread of its own; what happens is reported as it happens."""

from __future__ import annotations

import errno
import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import SecretStr

from dlcs_assets.domain.errors import (
    ORIGIN_CODES,
    IngestError,
    MessageRejectedError,
    PermanentError,
    TransientError,
    unexpected,
)
from dlcs_assets.domain.ingest_spec import IngestPolicy, stale_stages
from dlcs_assets.domain.request_states import TRANSITIONS, RequestState, end_of_attempt
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.ingest.beginnings import Beginnings
from dlcs_assets.ingest.context import ImageContext, Services, Stopwatch
from dlcs_assets.ingest.guard import Guard
from dlcs_assets.ingest.heartbeat import Heartbeat
from dlcs_assets.ingest.held_image import HeldImage
from dlcs_assets.ingest.image import StageDone, ingest_image
from dlcs_assets.ingest.scratch import folder_name
from dlcs_assets.ingest.unstored import Unstored
from dlcs_assets.ingest.write_back import WriteBackThread
from dlcs_assets.ledger.database import NotOwnerError
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.overtaken import IMAGE_DELETED
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.results import Claim, ClaimLostError
from dlcs_assets.ledger.write_backs import WriteBack
from dlcs_assets.ledger.writer import LedgerWriter, Result
from dlcs_assets.ledger.writes import AttemptEnd, ImageBegun

__all__ = ["ChunkOptions", "DaemonThreads", "ImageEnded", "StageDone", "ingest_chunk"]

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

# How long a run that was asked to end waits for calls in progress, in each of several places: ECS kills after 30 s.
GRACE_SECONDS = 4.0


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
    was_terminated: Callable[[], bool] = lambda: False  # by a person, asked when images are left at the end
    dlcs_database: SecretStr | None = None  # of a DLCS that waits to hear how images end


def ingest_chunk(
    claim: Claim, ledger: Ledger, services: Services, policy: IngestPolicy, options: ChunkOptions
) -> Generator[StageDone | ImageEnded, None, None]:
    """Work on all images of the claim; yield events in the order in which they happen.

    At the end, also if the iterator is closed early, what is unfinished is released.
    """
    events: queue.SimpleQueue[StageDone | ImageEnded] = queue.SimpleQueue()
    stop = threading.Event()
    heartbeat = Heartbeat(ledger, claim.token, options.heartbeat)
    guard = Guard(ledger, claim.token)
    writer = LedgerWriter(ledger.results, claim, _unexpected)
    write_back = WriteBackThread(options.dlcs_database.get_secret_value(), ledger) if options.dlcs_database else None
    image_threads = DaemonThreads(options.images_in_flight, "image")
    thumbnail_threads = DaemonThreads(options.thumbnails_in_flight, "thumbnail")
    items = {item.request_id: item for item in claim.items}
    beginnings = Beginnings(partial(_begin, writer, items), list(items), options.images_in_flight)
    at_work = _Countdown(len(claim.items))
    worker = _Worker(
        claim,
        ledger,
        beginnings,
        writer,
        guard,
        services,
        policy,
        options,
        thumbnail_threads,
        stop,
        events,
        at_work,
        Unstored(services.storage, claim.items),
        write_back,
    )
    unfinished = set(items)
    try:
        services.pictures.start(min(len(items), options.images_in_flight))
        for item in claim.items:
            image_threads.submit(worker.work_on, item)
        while unfinished:
            event = events.get()
            if isinstance(event, ImageEnded):
                unfinished.discard(event.item.request_id)
            yield event
    finally:
        stop.set()
        # All is done, or the run was asked to end: then others may have the images already.
        grace_seconds = GRACE_SECONDS if unfinished else None
        writer.flush(grace_seconds)
        _release(claim, ledger, options, terminated=bool(unfinished) and _was_terminated(options))
        image_threads.abandon(grace_seconds)
        thumbnail_threads.abandon(grace_seconds)
        if write_back is not None:
            write_back.close(grace_seconds)
        writer.close(grace_seconds)
        guard.stop(grace_seconds)
        heartbeat.stop(grace_seconds)


def _begin(writer: LedgerWriter, items: Mapping[str, WorkItem], request_ids: Sequence[str]) -> set[str]:
    """Note that work on these images begins, together with what waits to be written; return those that are held.

    What has ended until now is on record then: a run that dies is not taken to have been at it.
    """
    now = datetime.now(UTC)
    results = writer.apply_all([ImageBegun(items[request_id], now) for request_id in request_ids])
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ClaimLostError):
            raise result
    return {request_id for request_id, result in zip(request_ids, results, strict=True) if result is None}


class _Countdown:
    """Counts down, in several threads."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def is_last(self) -> bool:
        """Return whether this was the last call."""
        with self._lock:
            self._left -= 1
            return self._left == 0


@dataclass(frozen=True, slots=True)
class _Worker:
    """What all images of a chunk have in common."""

    claim: Claim
    ledger: Ledger
    beginnings: Beginnings
    writer: LedgerWriter
    guard: Guard
    services: Services
    policy: IngestPolicy
    options: ChunkOptions
    thumbnail_threads: Executor
    stop: threading.Event
    events: queue.SimpleQueue[StageDone | ImageEnded]
    at_work: _Countdown
    unstored: Unstored
    write_back: WriteBackThread | None

    def work_on(self, item: WorkItem) -> None:
        """Take an image its whole way, and add the end of the attempt to what is to be written."""
        folder = self.options.scratch / folder_name(item.request_id, self.claim.token)
        held = HeldImage(self.claim, item, self.ledger, self.writer, self.guard, self.stop)
        image = ImageContext(item, self.claim.run_id, self.services, self.policy, folder, held)
        watch = Stopwatch()
        try:
            error, stays = self._ingest(image)
        except ClaimLostError:
            then = partial(self._give_up, image, held)
            self.writer.add(item, None, then, at_once=self.at_work.is_last())  # after what is waiting already
        else:
            self._end_or_write_back(_Attempt(image, held, watch, error, stays), at_once=self.at_work.is_last())

    def _ingest(self, image: ImageContext) -> tuple[IngestError | None, bool]:
        """Return the error with which the image failed, if it did, and whether it may stay as it was before.

        Raises ClaimLostError.
        """
        made = bool(image.item.done)
        try:
            self.beginnings.begin(image.item.request_id)
            image.folder.mkdir(parents=True)
            image = replace(image, is_unstored=image.item.asset_id in self.unstored)
            for event in ingest_image(image, self.thumbnail_threads):
                made = True
                self.writer.add(image.item, None, partial(self._report, event))
        except IngestError as error:
            return error, not made and _may_stay(image, error)
        except ClaimLostError:
            raise
        except Exception as error:  # a bug costs one image, and says where it is
            log.exception("unexpected error at %s", image.item.asset_id, extra=image.log_fields)
            return _unexpected(error), False
        finally:
            shutil.rmtree(image.folder, ignore_errors=True)
        return None, False

    def _end_or_write_back(self, attempt: _Attempt, *, at_once: bool) -> None:
        if self.write_back is None:
            self._end(attempt, at_once=at_once)
        else:  # once the ledger has what was made
            self.writer.add(attempt.image.item, None, partial(self._write_back, attempt), at_once=at_once)

    def _end(self, attempt: _Attempt, *, at_once: bool, written: WriteBack | None = None) -> None:
        now = datetime.now(UTC)
        if written is not None and written.gone and attempt.image.item.registration.of_dlcs:
            attempt = replace(attempt, error=_gone(attempt.image), stays=False)
        end = AttemptEnd(
            attempt.image.item, attempt.error, self.options.schedule, now, stays=attempt.stays, write_back=written
        )
        if written is not None and written.unwritten is not None and not attempt.stays:
            attempt = replace(attempt, error=written.unwritten)
        self.writer.add(end.item, end, partial(self._ended, attempt), at_once=at_once)

    # What follows when the ledger has something, or has refused it; in the thread of its writer.

    def _report(self, event: StageDone, result: Result) -> None:
        if result is None:
            self.events.put(event)

    def _write_back(self, attempt: _Attempt, result: Result) -> None:
        assert self.write_back is not None
        item = attempt.image.item
        error = attempt.error or (_unexpected(result) if isinstance(result, Exception) else None)
        attempt = replace(attempt, error=error, stays=attempt.stays and error is attempt.error)
        event = end_of_attempt(
            error,
            attempts=item.attempt - 1,
            max_attempts=self.options.schedule.attempts,
            stays=attempt.stays,
        )
        if TRANSITIONS[event].finished == "set":
            # The next one that ends waits for nothing: by then several may have come together.
            then = partial(self._end, attempt, at_once=True)
            failure = None if attempt.stays else error
            self.write_back.add(item, failure, attempt.held.is_held, lambda written: then(written=written))
        else:
            self._end(attempt, at_once=False)

    def _ended(self, attempt: _Attempt, result: Result) -> None:
        image, failure = attempt.image, attempt.held.failure
        error = attempt.error or (_unexpected(failure) if failure else None)
        match result:
            case ClaimLostError():
                self._give_up(image, attempt.held, result)
            case Exception():
                log.error(
                    "the ledger could not record the end of %s",
                    image.item.asset_id,
                    exc_info=result,
                    extra=image.log_fields,
                )
                if attempt.is_repeated or isinstance(result, UNAVAILABLE):  # reconcile finds the image then
                    self.events.put(ImageEnded(image.item, None, error or _unexpected(result)))
                else:
                    again = replace(attempt, error=_unexpected(result), stays=False, is_repeated=True)
                    self._end(again, at_once=True)
            case state:
                fields = image.log_fields | {"milliseconds": attempt.watch.milliseconds}
                log.info("%s is %s", image.item.asset_id, state, extra=fields)
                self.events.put(ImageEnded(image.item, state, error))

    def _give_up(self, image: ImageContext, held: HeldImage, _: Result) -> None:
        item = image.item
        try:
            log.warning("%s was given to another run; this one skips it", item.asset_id, extra=image.log_fields)
            if held.may_have_published and not self.stop.is_set():
                self.ledger.claims.request_again(item.asset_id, now=datetime.now(UTC))
        finally:
            self.events.put(ImageEnded(item, None, None))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An image that has come to its end in this run; `error` is why, if it is not done.

    `stays`: it is done as before, where it would fail.
    """

    image: ImageContext
    held: HeldImage
    watch: Stopwatch
    error: IngestError | None
    stays: bool = False
    is_repeated: bool = False  # the ledger refused to record its first end


class DaemonThreads(Executor):
    """Like `ThreadPoolExecutor`, but its threads do not keep a process alive that is to end.

    A thread that waits for the answer of a service cannot be interrupted; an orchestrator that stops a task kills it
    half a minute later.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._max_threads = threads
        self._name = name
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call it in a thread, as soon as one is free."""
        future: Future[T] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        with self._lock:
            if len(self._threads) < self._max_threads:
                name = f"{self._name}_{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
                self._threads[-1].start()
        return future

    def abandon(self, seconds: float | None) -> None:
        """Begin nothing more, and wait for what is in progress, up to this time (None: without a limit)."""
        with suppress(queue.Empty):
            while waiting := self._work.get_nowait():
                waiting[0].cancel()
        for _ in self._threads:
            self._work.put(None)
        give_up = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if give_up is None else max(0.0, give_up - time.monotonic()))

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            _fulfil(*work)


def _may_stay(image: ImageContext, error: IngestError) -> bool:
    """Return whether only the origin cannot be read again, and what is stored is what the registration asks for."""
    item = image.item
    if not (item.renews_done and error.code.startswith(ORIGIN_CODES)):
        return False
    try:
        return not stale_stages(item.asset_id, item.registration, item.latest, image.policy)
    except (IngestError, MessageRejectedError):  # it could not be ingested as it is registered
        return False


def _was_terminated(options: ChunkOptions) -> bool:
    try:
        return options.was_terminated()
    except Exception:  # the claims are released whatever Dagster answers
        log.exception("Dagster did not say whether the run was terminated by hand")
        return False


def _release(claim: Claim, ledger: Ledger, options: ChunkOptions, *, terminated: bool) -> None:
    now = datetime.now(UTC)
    try:
        ledger.claims.release(claim.token, claim.run_id, schedule=options.schedule, now=now, terminated=terminated)
    except NotOwnerError as error:  # everything was made due again when the ledger was given to another instance
        log.warning("%s", error, extra={"run": claim.run_id})
    except UNAVAILABLE:  # reconcile does it, once the claims are no longer renewed
        log.exception("the ledger could not take back the images of run %s", claim.run_id, extra={"run": claim.run_id})


def _gone(image: ImageContext) -> PermanentError:
    return PermanentError(
        IMAGE_DELETED.code,
        f"The DLCS does not have {image.item.asset_id} any more: it was deleted while it was ingested",
        remedy=IMAGE_DELETED.remedy,
    )


def _unexpected(error: Exception) -> IngestError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return TransientError(
            "scratch_full",
            "The scratch folder's disk is full",
            remedy="Make room in DLCS_SCRATCH, or lower DLCS_IMAGES_IN_FLIGHT; the image is retried automatically",
        )
    if isinstance(error, UNAVAILABLE):
        return TransientError(
            "ledger_unavailable",
            "The ledger's database did not answer",
            remedy="See that the database of DLCS_LEDGER_URL is up; the image is retried automatically",
        )
    return unexpected(error)


def _fulfil(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 (the caller that waits for the result gets it)
        future.set_exception(error)
