"""How images ended is written to the DLCS's database: by the run that made them, or later by `reconcile`.

What is written is what the ledger has of the image at that moment, so that it may be written twice.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.clients.dlcs_ends import LONGEST_LOCATION, Changed, DlcsBatch, DlcsEnd, EndResult, Gone, write_end
from dlcs_assets.domain.batch import Batch, Tally
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.errors import IngestError, unexpected
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_request import register
from dlcs_assets.domain.quota import SOURCE_KINDS
from dlcs_assets.domain.results import ObjectKind, StageResult, WorkItem
from dlcs_assets.domain.stages import Lane, Outcome, Stage
from dlcs_assets.domain.thumbnails import ThumbnailSet
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.outbox import FIRST_DELAY
from dlcs_assets.ledger.transitions import CANCELLED, Failure
from dlcs_assets.ledger.write_backs import EndFacts, WriteBack

log = logging.getLogger(__name__)

QUOTA_EXCEEDED: Final = "StoragePolicy size limit exceeded"  # as the DLCS's engine says it
_MOST_AT_ONCE: Final = 50
_QUEUE_OF: Final = {Lane.PRIORITY: "priority"}

Then = Callable[[WriteBack], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    item: WorkItem
    failure: IngestError | None
    is_held: Callable[[], bool]
    then: Then


class WriteBackThread:
    """The one thread of a run that writes to the DLCS's database: ends of images, one after another.

    What came of it is passed to a function of the caller's. While the database does not answer it is not asked for
    every image: they are left to `reconcile`.
    """

    def __init__(self, url: str, ledger: Ledger) -> None:
        self._database = DlcsDatabase(url)
        self._ledger = ledger
        self._work: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._away: tuple[float, IngestError] | None = None
        self._thread = threading.Thread(target=self._serve, name="write back", daemon=True)
        self._thread.start()

    def add(self, item: WorkItem, failure: IngestError | None, is_held: Callable[[], bool], then: Then) -> None:
        """Write how an image ended, whose results the ledger has.

        `is_held` is asked right before: of an image that another run holds by now nothing is written.
        """
        self._work.put(_Waiting(item, failure, is_held, then))

    def close(self, timeout: float | None) -> None:
        """Write what waits, and end the thread; wait for that, up to this time."""
        self._work.put(None)
        self._thread.join(timeout)

    def _serve(self) -> None:
        try:
            while batch := self._next():
                facts = self._facts([each.item for each in batch])
                for each in batch:
                    each.then(self._write(each, facts))
        finally:
            self._database.close()

    def _next(self) -> list[_Waiting]:
        found: list[_Waiting] = []
        while len(found) < _MOST_AT_ONCE and (not found or not self._work.empty()):
            waiting = self._work.get()
            if waiting is None:
                self._work.put(None)
                break
            found.append(waiting)
        return found

    def _facts(self, items: Sequence[WorkItem]) -> Mapping[str, EndFacts] | IngestError:
        try:
            return self._ledger.write_backs.facts(items)
        except Exception as error:  # of the ledger's database: the end is left to `reconcile`, if it can be recorded
            log.exception("the ledger did not say what is to be written to the DLCS's database")
            return unexpected(error)

    def _write(self, waiting: _Waiting, facts: Mapping[str, EndFacts] | IngestError) -> WriteBack:
        if isinstance(facts, IngestError):
            return WriteBack(unwritten=facts)
        if self._away is not None and monotonic() - self._away[0] < FIRST_DELAY.total_seconds():
            return WriteBack(unwritten=self._away[1])
        if not waiting.is_held():
            return WriteBack()  # the end is refused, too
        try:
            return written(self._database, facts[waiting.item.request_id], waiting.failure)
        except IngestError as error:
            log.warning("%s could not be written back: %s", waiting.item.asset_id, error)
            if is_about_all(error):
                self._away = (monotonic(), error)
            return WriteBack(unwritten=error)
        except Exception as error:  # a bug must not keep the run from its end
            log.exception("%s could not be written back", waiting.item.asset_id)
            return WriteBack(unwritten=unexpected(error))


def write_due(ledger: Ledger, url: str, *, now: datetime) -> tuple[int, IngestError | None]:
    """Write what runs could not; return how many ends that were, and why others have to wait."""
    ledger.write_backs.forget_overtaken()
    count, problem = 0, None
    due = ledger.write_backs.due(now=now)
    if not due:
        return count, problem
    with closing(DlcsDatabase(url)) as database:
        for end in due:
            try:
                result = written(database, end.facts, end.failure)
            except IngestError as error:
                problem = error
                ledger.write_backs.mark_failed(end, error, now=now, others_wait=is_about_all(error))
                if is_about_all(error):
                    break
            else:
                ledger.write_backs.settle(end, result, now=now)
                count += 1
    return count, problem


def is_about_all(error: IngestError) -> bool:
    """Return whether no other image would fare better."""
    return error.code in {"dlcs_database_unavailable", "dlcs_database_refused"}


def written(database: DlcsDatabase, facts: EndFacts, failure: Failure | None) -> WriteBack:
    """Write how an image ended; return what came of it. `failure` has code and cause. Raises the database's errors."""
    return _as_write_back(write_end(database, dlcs_end(facts, failure)))


def dlcs_end(facts: EndFacts, failure: Failure | None) -> DlcsEnd:
    """Return how an image ended, in the DLCS's terms.

    Of one that failed, what this request has made until then, and stays as it was otherwise.
    """
    made = {
        stage: result
        for stage, (request_id, result) in facts.results.items()
        if failure is None or request_id == facts.request_id
    }
    channels = facts.registration.channels if facts.registration else None
    # An original that was kept is not what is served, if the JP2 was to be and could not be made.
    is_there = failure is None or Stage.JP2 in made
    delivered = is_there and (channels is None or any(each.channel is Channel.IIIF_IMG for each in channels))
    location = _first(made, (Stage.JP2, Stage.ORIGINAL), "location") if delivered else None
    error = _error(failure)
    if location is not None and len(location) > LONGEST_LOCATION:
        error, location = f"The location {location[:100]}... is longer than the DLCS can hold", None
    size, thumbnail_size = _sizes(facts, made, failed=failure is not None)
    thumbnails = made.get(Stage.THUMBNAILS)
    has_thumbnails = thumbnails is not None and thumbnails.outcome is Outcome.MADE
    nothing_wanted = channels is not None and all(each.channel is Channel.NONE for each in channels)
    registration = facts.registration
    width, height = _measured(made) if is_there else (0, 0)
    return DlcsEnd(
        facts.asset_id,
        registration=registration if registration and registration.of_dlcs else None,
        error=error,
        width=width,
        height=height,
        media_type=_first(made, (Stage.ORIGINAL,), "media_type"),
        location=location,
        sizes=_thumbnails(thumbnails) if thumbnails and has_thumbnails else None,
        size=size,
        thumbnail_size=thumbnail_size,
        is_counted=bool(size or thumbnail_size) or has_thumbnails or nothing_wanted,
        batches={batch: _QUEUE_OF.get(lane, "default") for batch, lane in facts.batches.items()},
        only_if_awaited=failure is not None and failure.code == CANCELLED,
        only_in_batches=facts.is_outdated,
    )


def _error(failure: Failure | None) -> str | None:
    if failure is None:
        return None
    return QUOTA_EXCEEDED if failure.code == "quota_exceeded" else failure.cause or failure.code


def _sizes(facts: EndFacts, made: Mapping[Stage, StageResult], *, failed: bool) -> tuple[int | None, int | None]:
    """Return the bytes of what is stored and of the thumbnails; None where a failure has changed nothing."""
    bytes_of = {
        kind: sum(record.bytes for record in facts.stored if record.kind is kind)
        for kind in (*SOURCE_KINDS, ObjectKind.THUMBNAIL)
    }
    size, thumbnails = sum(bytes_of[kind] for kind in SOURCE_KINDS), bytes_of[ObjectKind.THUMBNAIL]
    if not failed:
        return size, thumbnails
    of_stages = {Stage.ORIGINAL: ObjectKind.ORIGINAL, Stage.JP2: ObjectKind.JP2}
    stored = any(stage in made and bytes_of[kind] for stage, kind in of_stages.items())
    return (size if stored else None), (thumbnails if Stage.THUMBNAILS in made else None)


def _first(made: Mapping[Stage, StageResult], stages: Sequence[Stage], name: str) -> str | None:
    found = (made[stage].facts.get(name) for stage in stages if stage in made)
    return next((str(value) for value in found if value is not None), None)


def _measured(made: Mapping[Stage, StageResult]) -> tuple[int, int]:
    for stage in (Stage.JP2, Stage.ORIGINAL, Stage.THUMBNAILS):
        facts = made[stage].facts if stage in made else {}
        if facts.get("width") and facts.get("height"):
            return int(facts["width"]), int(facts["height"])
    return 0, 0


def _thumbnails(result: StageResult) -> ThumbnailSet:
    sizes = tuple(Size(width, height) for width, height in result.facts["sizes"])
    return ThumbnailSet(sizes[: result.facts["open"]], sizes[result.facts["open"] :])


def _as_write_back(result: EndResult) -> WriteBack:
    match result:
        case Changed(asset):
            return WriteBack(changed=register(asset.fields, None))
        case Gone():
            return WriteBack(gone=True)
        case _:
            return WriteBack(finished=tuple(map(batch_of, result.finished)))


def batch_of(found: DlcsBatch) -> Batch:
    """Return a batch that has finished as the DLCS counts it."""
    return Batch(
        found.id,
        found.customer,
        found.count,
        found.submitted,
        finished_at=found.finished,
        tally=Tally(done=found.completed, failed=found.errors),
        superseded=found.superseded,
    )
