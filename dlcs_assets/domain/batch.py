"""A batch: images that were submitted together, their numbers, when it has ended, and how that is published.

Nothing here is counted up: the numbers follow from where the images are, so that they can't drift.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dlcs_assets.domain.request_states import SHOWN_STATES


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a batch's images are where. An image counts once, however often it was asked for in the batch.

    `corrected`: how many of those that ended otherwise than well are done by now, by a request outside of the batch.
    """

    done: int = 0
    failed: int = 0
    rejected: int = 0
    pending: int = 0
    running: int = 0
    cancelled: int = 0
    corrected: int = 0

    @classmethod
    def of_states(cls, counts: Mapping[str, int], *, rejected_messages: int = 0, corrected: int = 0) -> Tally:
        """Add up numbers of images by the state of their request, and messages that never became a request."""
        numbers = {"rejected": rejected_messages, "corrected": corrected}
        for state, count in counts.items():
            numbers[SHOWN_STATES[state]] = numbers.get(SHOWN_STATES[state], 0) + count
        return cls(**numbers)

    @property
    def listed(self) -> int:
        """All images that a message was received for. The sum of the others, so that the two sides always balance."""
        return self.done + self.failed + self.rejected + self.cancelled + self.unended

    @property
    def unended(self) -> int:
        """Images that will end yet."""
        return self.pending + self.running

    @property
    def completed(self) -> int:
        """Images that ended well, in the DLCS's word."""
        return self.done

    @property
    def errors(self) -> int:
        """Images that ended otherwise, in the DLCS's word."""
        return self.failed + self.rejected + self.cancelled

    def __str__(self) -> str:
        unended = f"{self.unended} pending" + (f" ({self.running} of them running)" if self.running else "")
        cancelled = f" + {self.cancelled} cancelled" if self.cancelled else ""
        ended = f"{self.done} done + {self.failed} failed + {self.rejected} rejected{cancelled}"
        return (
            f"{self.listed} listed = {ended} + {unended}{f'; {self.corrected} corrected since' * bool(self.corrected)}"
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of a customer. `declared` is how many images it has, as its submitter said.

    `superseded` says that each of its images was asked for again by a later batch.
    """

    id: int
    customer: int
    declared: int | None
    submitted_at: datetime
    closed_at: datetime | None = None
    finished_at: datetime | None = None
    tally: Tally = Tally()
    superseded: bool = False

    @property
    def name(self) -> str:
        """How people name it."""
        return f"Batch {self.id} of customer {self.customer}"

    @property
    def count(self) -> int | None:
        """How many images it has: of a batch that was closed those that came. None: not known."""
        return self.tally.listed if self.closed_at else self.declared

    @property
    def not_received(self) -> int | None:
        """How many declared images no message was received for; None if their number is not known."""
        return None if self.count is None else max(self.count - self.tally.listed, 0)

    @property
    def has_ended(self) -> bool:
        """Whether all of its images have ended. Without a count that is not known, so it has not."""
        ended = self.tally.completed + self.tally.errors
        return self.count is not None and ended >= self.count and not self.tally.unended

    @property
    def standing(self) -> str:
        """Its progress, in a few words."""
        if self.finished_at:
            return "finished"
        if self.count is None:
            return "open: the number of its images was not declared, so it is not finished until it is closed"
        if self.not_received:
            return f"open: {self.not_received} of {self.count} images have not been received yet"
        return "all images have ended" if self.has_ended else "in progress"


def time_left(batch: Batch, ended: int, window: timedelta) -> timedelta | None:
    """Estimate how long the rest takes at the rate at which images ended in that time. None: unknown."""
    if batch.finished_at or batch.not_received is None or not ended:
        return None
    return window / ended * (batch.tally.unended + batch.not_received)


def completed_notification(batch: Batch, finished_at: datetime) -> str:
    """Return the body that the DLCS publishes of a finished batch: compact JSON, its order of fields, times in UTC."""
    return json.dumps(
        {
            "id": batch.id,
            "customer": batch.customer,
            "count": batch.count,
            "completed": batch.tally.completed,
            "errors": batch.tally.errors,
            "superseded": batch.superseded,
            "submitted": _utc(batch.submitted_at),
            "finished": _utc(finished_at),
        },
        separators=(",", ":"),
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
