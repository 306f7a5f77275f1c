"""Batches that have ended: recorded as finished, and published to those who listen, as the DLCS publishes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from dlcs_assets.clients.sns import Notifications
from dlcs_assets.ingest.publishing import publish_due
from dlcs_assets.ledger.batches import BATCH_COMPLETED
from dlcs_assets.ledger.ledger import Ledger

NO_TOPIC: Final = "no topic is configured: set DLCS_BATCH_COMPLETED_TOPIC_ARN"


@dataclass(frozen=True)
class BatchSummary:
    """What one tick found and did."""

    open: int
    without_count: int
    finished: tuple[str, ...]
    sent: int
    unsent: int
    problem: str | None

    def __str__(self) -> str:
        parts = [f"{self.open} batches open"]
        if self.without_count:
            parts[0] += f" ({self.without_count} without a count: see dlcs batch close)"
        if self.finished:
            parts.append(f"{len(self.finished)} finished: {', '.join(self.finished)}")
        if self.sent:
            parts.append(f"{self.sent} notifications sent")
        if self.unsent:
            parts.append(f"{self.unsent} notifications unsent: {self.problem or 'the next tick sends them'}")
        return "; ".join(parts)


def finish_batches(ledger: Ledger, notifications: Notifications, topic_arn: str | None) -> BatchSummary:
    """Finish what has ended, then publish what is due, this tick's and what is left of earlier ones."""
    finished = ledger.batches.finish_due(now=datetime.now(UTC))
    sent = 0
    if topic_arn is None:
        ledger.outbox.explain_unsent(BATCH_COMPLETED, NO_TOPIC)
    else:
        sent = publish_due(ledger.outbox, BATCH_COMPLETED, partial(notifications.publish, topic_arn))
    open_batches, without_count = ledger.batches.open_batches()
    names = tuple(f"{batch.id} of customer {batch.customer}" for batch in finished)
    return BatchSummary(open_batches, without_count, names, sent, *ledger.outbox.unsent(BATCH_COMPLETED))
