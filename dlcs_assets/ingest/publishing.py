"""Sending what the outbox has: a receiver that fails or refuses costs nothing that is written there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.ledger.outbox import Outbox

PUBLISHING_BUDGET: Final = timedelta(seconds=10)  # in which no further notification is begun
REFUSED_BY_TOPIC: Final = 3  # as many refusals in a row are not for what is in the notifications

Send = Callable[[str, Mapping[str, str]], None]  # a body and attributes; raises the errors of the error tree


def publish_due(outbox: Outbox, topic: str, send: Send) -> int:
    """Publish what is due until the topic fails or the time is up; return how many were sent.

    One that is refused waits alone, and the others are tried; if several in a row are, it is the topic. Each is
    recorded as sent after it was: if the process dies in between, the same one is sent again.
    """
    deadline = time.monotonic() + PUBLISHING_BUDGET.total_seconds()
    sent = refused_in_a_row = 0
    for notification in outbox.due(topic, now=datetime.now(UTC)):
        try:
            send(notification.body, notification.attributes)
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
