"""Messages taken in: each becomes a request, waits for its image's registration, or is kept with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from dlcs_assets.domain.message_attributes import attributes_of_json
from dlcs_assets.domain.request_states import Event, MessageState, RequestState
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.intake_transaction import IntakePolicy, IntakeTransaction, StageChoice
from dlcs_assets.ledger.records import InboxMessage, IntakeCount
from dlcs_assets.ledger.tables import messages, requests, unfinished
from dlcs_assets.ledger.transitions import Reason, change_state
from dlcs_assets.ledger.uploads import forget_requeued

__all__ = ["Inbox", "IntakePolicy", "StageChoice"]

UNKNOWN_IMAGE = Reason(
    "image_unknown",
    "The message names an image that is not registered",
    "Register the image with a full message (asset with origin), then send this one again: dlcs rejected --requeue",
)


class Inbox:
    """Takes messages in. Taking the same message in twice has no effect, so a message may be deleted late, or never."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_in(self, received: Sequence[InboxMessage], *, policy: IntakePolicy, now: datetime) -> IntakeCount:
        """Write all messages in one transaction."""
        count: Counter[str] = Counter()
        with self._database.write() as connection:
            forget_requeued(connection, received)
            ids = [message.id for message in received]
            known = set(connection.scalars(select(messages.c.id).where(messages.c.id.in_(ids))))
            new: dict[str, InboxMessage] = {}
            for message in received:
                if message.id in known or message.id in new:
                    count["duplicates"] += 1
                else:
                    new[message.id] = message
            named = {str(message.named.asset_id) for message in new.values() if message.named.asset_id}
            transaction = IntakeTransaction(connection, named, policy, now)
            count.update(transaction.take_in(message) for message in new.values())
            transaction.flush()
        return IntakeCount(**count)

    def known(self, ids: Collection[str]) -> set[str]:
        """Return those of the ids of messages that were taken in before; of what was sent again none."""
        with self._database.read() as connection:
            query = select(messages.c.id).where(messages.c.id.in_(ids), messages.c.state != MessageState.REQUEUED)
            return set(connection.scalars(query))

    def reject_overdue(self, now: datetime) -> int:
        """Reject what waited until the timeout for the registration of its image; return how many."""
        overdue = select(requests.c.id).where(unfinished(RequestState.WAITING), requests.c.due_at <= now)
        with self._database.write() as connection:
            ids = connection.scalars(overdue).all()
            if not ids:
                return 0
            connection.execute(
                update(messages)
                .where(messages.c.request_id.in_(ids), messages.c.state == MessageState.WAITING)
                .values(
                    state=MessageState.REJECTED,
                    code=UNKNOWN_IMAGE.code,
                    cause=UNKNOWN_IMAGE.cause,
                    remedy=UNKNOWN_IMAGE.remedy,
                )
            )
            event = Event.REGISTRATION_OVERDUE
            return change_state(connection, event, requests.c.id.in_(ids), now=now, failure=UNKNOWN_IMAGE)

    def rejected(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the rejected messages, the newest first.

        Each has id, queue, lane, received_at, image_id, body, its reason, and as MessageAttributes what its sender said
        of it, by name.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(messages)
                .where(messages.c.state == MessageState.REJECTED)
                .order_by(messages.c.received_at.desc(), messages.c.id)
                .limit(limit)
            ).mappings()
            return [{**row, "attributes": attributes_of_json(row["attributes"] or {})} for row in rows]

    def mark_requeued(self, message_ids: Sequence[str]) -> None:
        """Record that rejected messages were sent to their queue again."""
        with self._database.write() as connection:
            connection.execute(
                update(messages)
                .where(messages.c.id.in_(message_ids))
                .values(state=MessageState.REQUEUED, body=None, attributes=None)
            )
