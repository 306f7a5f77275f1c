"""Batches that have ended: recorded as finished, and published to those who listen, as the DLCS publishes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dlcs_assets.clients.sns import Notifications
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.ledger.batches import BATCH_COMPLETED
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.outbox import Notification, Outbox

PUBLISHING_BUDGET: Final = timedelta(seconds=10)  # in which no further notification is begun
REFUSED_BY_TOPIC: Final = 3  # as many refusals in a row are not for what is in the notifications
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
        sent = publish_due(ledger.outbox, BATCH_COMPLETED, to_topic(notifications, topic_arn))
    open_batches, without_count = ledger.batches.open_batches()
    names = tuple(f"{batch.id} of customer {batch.customer}" for batch in finished)
    return BatchSummary(open_batches, without_count, names, sent, *ledger.outbox.unsent(BATCH_COMPLETED))


def to_topic(notifications: Notifications, topic_arn: str) -> Callable[[Notification], None]:
    """Return what sends a notification to an SNS topic."""
    return lambda notification: notifications.publish(topic_arn, notification.body, notification.attributes)


def publish_due(outbox: Outbox, topic: str, send: Callable[[Notification], None]) -> int:
    """Publish what is due until the topic fails or the time is up; return how many were sent.

    One that is refused waits alone, and the others are tried; if several in a row are, it is the topic. Each is
    recorded as sent after it was: if the process dies in between, the same one is sent again.
    """
    deadline = time.monotonic() + PUBLISHING_BUDGET.total_seconds()
    sent = refused_in_a_row = 0
    for notification in outbox.due(topic, now=datetime.now(UTC)):
        try:
            send(notification)
        except IngestError as error:
            refused_in_a_row += 1
            is_its_own = isinstance(error, PermanentError) and refused_in_a_row < REFUSED_BY_TOPIC
            outbox.mark_failed(notification, str(error), now=datetime.now(UTC), others_wait=not is_its_own)
            if not is_its_own:
                break
        else:
            outbox.mark_published(notification.id, now=datetime.now(UTC))
            sent += 1
            refused_in_a_row = 0
        if time.monotonic() > deadline:
            break
    return sent
