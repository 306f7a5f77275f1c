"""What a run writes about an image, one write at a time and at once: runs themselves write in batches.

Each raises what the write is refused with: ClaimLostError, or PermanentError if a quota has no room.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.ledger.claims import Claim
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.results import Results
from dlcs_assets.ledger.writes import AttemptEnd, QuotaReservation, StageCommit, TransientObject, Write


def commit_stage(
    results: Results,
    claim: Claim,
    item: WorkItem,
    result: StageResult,
    *,
    invalidate: Sequence[str] = (),
    now: datetime,
) -> None:
    """Record a stage's outcome and its objects."""
    _write(results, claim, StageCommit(item, result, now, invalidate))


def end_image(
    results: Results,
    claim: Claim,
    item: WorkItem,
    error: IngestError | None,
    *,
    schedule: RetrySchedule,
    now: datetime,
    stays: bool = False,
) -> RequestState:
    """End the attempt at an image; return the state of its request."""
    state = _write(results, claim, AttemptEnd(item, error, schedule, now, stays))
    assert state is not None  # of an end
    return state


def reserve_quota(
    results: Results, claim: Claim, item: WorkItem, *, limit: int, new: int, replaces: Collection[ObjectKind]
) -> None:
    """Reserve bytes of the customer's quota."""
    _write(results, claim, QuotaReservation(item, limit, new, replaces))


def add_transient(results: Results, claim: Claim, item: WorkItem, stored: ObjectRecord) -> None:
    """Record an object that is about to be stored, and is to be deleted again."""
    _write(results, claim, TransientObject(item, stored))


def _write(results: Results, claim: Claim, write: Write) -> RequestState | None:
    (written,) = results.write(claim, [write])
    if isinstance(written, Exception):
        raise written
    return written
