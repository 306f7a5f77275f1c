"""The ledger as the stages of one image see it: what they check and record for the run that holds it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.ingest.guard import TRUSTED_FOR_SECONDS, Guard
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.database import ClaimLostError
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.writer import LedgerWriter, Result
from dlcs_assets.ledger.writes import QuotaReservation, RemovedObject, StageCommit, TransientObject

log = logging.getLogger(__name__)


@dataclass(slots=True)
class HeldImage:
    """The ledger, for one image that this run holds (`ImageLedger`).

    `failure` is what one of its commits was refused with. Commits are added to what waits to be written; reservations
    and transient objects are waited for, as what follows relies on them.
    """

    claim: Claim
    item: WorkItem
    ledger: Ledger
    writer: LedgerWriter
    guard: Guard
    stop: threading.Event
    failure: Exception | None = None
    _checks: int = 0
    _checks_recorded: int = 0

    @property
    def may_have_published(self) -> bool:
        """Whether a check has allowed to publish, and the ledger does not have the result.

        A run may stand still between the two, until another run has the image.
        """
        return self._checks > self._checks_recorded

    def check_claim(self, *, at_this_moment: bool = False) -> None:
        """Check by what the guard has read, or by a reading of this moment."""
        if self.stop.is_set():
            raise ClaimLostError(f"the run is ending; {self.item.asset_id} is released")
        if self.failure is not None:
            raise self.failure
        self.guard.check(self.item.asset_id, trusted_for=0 if at_this_moment else TRUSTED_FOR_SECONDS)
        self._checks += 1

    def is_held(self) -> bool:
        """Return whether this run holds the image at this moment, and is not ending."""
        try:
            self.check_claim(at_this_moment=True)
        except Exception:  # noqa: BLE001 (whatever keeps the ledger from recording more of it)
            return False
        return True

    def is_taken_over(self) -> bool:
        """Return whether another run holds the request by now."""
        return self.ledger.claims.is_taken_over(self.claim.token, self.item.request_id)

    def origins_among(self, bucket: str, keys: Collection[str]) -> set[str]:
        """Return the keys that are some image's origin."""
        return self.ledger.reports.origins_among(bucket, keys)

    def reserve(self, limit: int, new_bytes: int, replaces: Collection[ObjectKind], *, counted: int = 0) -> None:
        """Reserve bytes, and wait for that."""
        self.writer.apply(QuotaReservation(self.item, limit, new_bytes, replaces, counted))

    def commit(self, result: StageResult, invalidate: Sequence[str]) -> None:
        """Add a result to what waits to be written."""
        write = StageCommit(self.item, result, datetime.now(UTC), invalidate)
        self.writer.add(self.item, write, partial(self._committed, self._checks))

    def record_transient(self, record: ObjectRecord) -> None:
        """Record an object, and wait for that."""
        self.writer.apply(TransientObject(self.item, record))

    def forget_object(self, bucket: str, key: str) -> None:
        """Add the end of an object to what waits to be written."""
        self.writer.add(self.item, RemovedObject(self.item, bucket, key), self._forgot)

    def _committed(self, checks: int, result: Result) -> None:
        if not isinstance(result, Exception):
            self._checks_recorded = checks
            return
        self.failure = self.failure or result
        if not isinstance(result, ClaimLostError):
            log.error("a result of %s could not be recorded", self.item.asset_id, exc_info=result)

    def _forgot(self, result: Result) -> None:
        if isinstance(result, Exception):  # it has gone from S3 all the same: a comparison finds the record
            log.error("an object of %s is still on record", self.item.asset_id, exc_info=result)
