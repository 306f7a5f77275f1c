"""The one thread of a run that writes to the ledger: what images leave behind waits here, and goes in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.database import NotOwnerError
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.ledger.results import Results
from dlcs_assets.ledger.writes import AttemptEnd, StageCommit, Write

log = logging.getLogger(__name__)

# How long a write waits for others. That it is done, an image hears this much later; so much of a run is lost with it.
LINGER_SECONDS: Final = 0.5
MOST_AT_ONCE: Final = 500  # writes: a transaction stays short

Result = RequestState | Exception | None
Then = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A write (None: there is nothing to write), and what is to be done once it has been committed, or refused."""

    item: WorkItem
    write: Write | None
    then: Then


class LedgerWriter:
    """Applies the writes of a claim in the order in which they are added, all that wait in one transaction.

    What comes of a write is passed to a function of the caller's, after the commit, in the same order, in the thread of
    the writer. It is what `apply_writes` returns for it, or an error of the database.

    A batch that the database refuses is applied again image by image, and what of an image is refused write by write,
    so that a row that cannot be written costs its own image only. After one of its commits was refused, an image has
    no other commit, and its attempt ends with what `as_failure` makes of the error. If the database is not available,
    or ended the transaction for reasons of its own, the batch is tried once more as it is.
    """

    def __init__(
        self,
        results: Results,
        claim: Claim,
        as_failure: Callable[[Exception], IngestError],
        *,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._results = results
        self._claim = claim
        self._as_failure = as_failure
        self._linger_seconds = linger_seconds
        self._failed: dict[str, Exception] = {}  # by request; of the thread that writes
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._due_at = 0.0
        self._at_work = False
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="ledger writer", daemon=True)
        self._thread.start()

    def add(self, item: WorkItem, write: Write | None, then: Then, *, at_once: bool = False) -> None:
        """Add a write. It waits for others for a while, unless it is wanted `at_once`."""
        with self._changed:
            if not self._waiting:
                self._due_at = time.monotonic() + self._linger_seconds
            self._waiting.append(_Entry(item, write, then))
            if at_once:
                self._due_at = 0.0
            self._changed.notify_all()

    def apply(self, write: Write) -> RequestState | None:
        """Add a write, and wait until it has been committed. Raises what it was refused with."""
        (result,) = self.apply_all([write])
        if isinstance(result, Exception):
            raise result
        return result

    def apply_all(self, writes: Sequence[Write]) -> list[Result]:
        """Add writes, and wait until they have been committed or refused; return what came of each."""
        found: dict[int, Result] = {}
        done = threading.Event()

        def then(number: int, result: Result) -> None:
            found[number] = result
            if len(found) == len(writes):
                done.set()

        for number, write in enumerate(writes):
            self.add(write.item, write, partial(then, number))
        if writes:
            self.hurry()
            done.wait()
        return [found[number] for number in range(len(writes))]

    def hurry(self) -> None:
        """Write what waits now: nothing more is to come, or someone waits for it."""
        with self._changed:
            self._due_at = 0.0
            self._changed.notify_all()

    def flush(self, timeout: float | None) -> bool:
        """Wait until all that was added has been written or refused, up to this time; return whether it has been."""
        self.hurry()
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._at_work, timeout)

    def close(self, timeout: float | None) -> None:
        """Write what waits, and end the thread; wait for that, up to this time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _serve(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            finally:
                with self._changed:
                    self._at_work = False
                    self._changed.notify_all()

    def _next(self) -> list[_Entry]:
        """Wait for a batch; empty at the end."""
        with self._changed:
            while not self._waiting or not self._is_due():
                if self._closing and not self._waiting:
                    return []
                self._changed.wait(self._due_at - time.monotonic() if self._waiting else None)
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            self._at_work = True
            return batch

    def _is_due(self) -> bool:
        return self._closing or len(self._waiting) >= MOST_AT_ONCE or time.monotonic() >= self._due_at

    def _write(self, batch: Sequence[_Entry]) -> None:
        entries = [each for each in (self._as_it_is_now(entry) for entry in batch) if each is not None]
        try:
            results = self._apply(entries)
        except (NotOwnerError, *UNAVAILABLE) as error:
            for entry in entries:
                self._settle(entry, error)
        except Exception as error:  # noqa: BLE001 (those who wait for the writes get it)
            parts = _parts(entries)
            if len(parts) > 1:
                log.warning("%d writes to the ledger were refused together; each is tried by itself", len(entries))
                for part in parts:
                    self._write(part)
                return
            for entry in entries:
                self._settle(entry, error)
        else:
            for entry, result in zip(entries, results, strict=True):
                self._settle(entry, result)

    def _as_it_is_now(self, entry: _Entry) -> _Entry | None:
        """Return what is still to be written of an image, one of whose commits may have been refused meanwhile."""
        failed = self._failed.get(entry.item.request_id)
        if failed is None:
            return entry
        if isinstance(entry.write, AttemptEnd):
            changed = replace(entry.write, error=entry.write.error or self._as_failure(failed))
            return replace(entry, write=changed)
        if isinstance(entry.write, StageCommit) or entry.write is None:
            self._settle(entry, failed)
            return None
        return entry

    def _apply(self, entries: Sequence[_Entry]) -> list[Result]:
        writes = [entry.write for entry in entries if entry.write is not None]
        try:
            written = iter(self._results.write(self._claim, writes) if writes else ())
        except NotOwnerError:
            raise
        except UNAVAILABLE as error:
            log.warning("the ledger did not take %d writes; they are tried once more: %s", len(writes), error)
            written = iter(self._results.write(self._claim, writes))
        return [None if entry.write is None else next(written) for entry in entries]

    def _settle(self, entry: _Entry, result: Result) -> None:
        if isinstance(result, Exception) and isinstance(entry.write, StageCommit):
            self._failed.setdefault(entry.item.request_id, result)
        elif entry.write is None:
            result = self._failed.get(entry.item.request_id)
        try:
            entry.then(result)
        except Exception:  # of the caller: others must hear of theirs
            log.exception("what follows a write to the ledger failed for %s", entry.item.asset_id)


def _parts(entries: Sequence[_Entry]) -> list[list[_Entry]]:
    """Divide what was refused: by images, and what is of one image by writes."""
    of_image: dict[str, list[_Entry]] = {}
    for entry in entries:
        of_image.setdefault(entry.item.request_id, []).append(entry)
    return list(of_image.values()) if len(of_image) > 1 else [[entry] for entry in entries]
