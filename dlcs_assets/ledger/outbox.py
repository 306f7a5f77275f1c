"""Notifications that are to be published: written in the transaction that they report, kept until they are sent.

Body and attributes are fixed when the row is written, so that one that is sent twice is the same both times.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import new_id
from dlcs_assets.ledger.tables import notifications

INVALIDATION = "invalidation"  # paths that a CDN is to forget
ALERT_TOPIC = "alert_topic"  # alerts to SNS
ALERT_WEBHOOK = "alert_webhook"
ALERT_TARGETS = (ALERT_TOPIC, ALERT_WEBHOOK)
FIRST_DELAY = timedelta(seconds=10)
LONGEST_DELAY = timedelta(minutes=15)
LONGEST_ERROR = 1000


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification: what is sent, and how far that is. `error` is why it has not been sent."""

    id: str
    topic: str
    body: str
    attributes: Mapping[str, str]
    created_at: datetime
    published_at: datetime | None
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Posted:
    """A notification to be written."""

    id: str
    topic: str
    body: str
    attributes: Mapping[str, str]


class Outbox:
    """What is to be published."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, topic: str, *, now: datetime, limit: int = 100) -> list[Notification]:
        """Return what is to be sent now: first what was tried least, then the oldest."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(notifications)
                .where(
                    notifications.c.topic == topic,
                    notifications.c.published_at.is_(None),
                    notifications.c.due_at <= now,
                )
                .order_by(notifications.c.attempts, notifications.c.created_at, notifications.c.id)
                .limit(limit)
            ).all()
        return [_notification(row) for row in rows]

    def post_once(self, posted: Sequence[Posted], *, now: datetime) -> None:
        """Write notifications, due at once, leaving out those whose ids are there."""
        with self._database.write() as connection:
            ids = select(notifications.c.id).where(notifications.c.id.in_([each.id for each in posted]))
            there = set(connection.scalars(ids))
            for each in posted:
                if each.id not in there:
                    post(connection, each.id, each.topic, each.body, each.attributes, now=now)

    def withdraw(self, topic: str) -> None:
        """Forget what is unsent: there is no receiver any more."""
        if self.unsent(topic)[0]:
            with self._database.write() as connection:
                unsent = (notifications.c.topic == topic, notifications.c.published_at.is_(None))
                connection.execute(delete(notifications).where(*unsent))

    def get(self, notification_id: str) -> Notification | None:
        """Return one notification, sent or not."""
        with self._database.read() as connection:
            query = select(notifications).where(notifications.c.id == notification_id)
            row = connection.execute(query).one_or_none()
        return _notification(row) if row else None

    def mark_published(self, notification_id: str, *, now: datetime) -> None:
        """Note that it was sent."""
        with self._database.write() as connection:
            connection.execute(
                update(notifications)
                .where(notifications.c.id == notification_id)
                .values(published_at=now, attempts=notifications.c.attempts + 1, error=None)
            )

    def mark_failed(self, failed: Notification, error: str, *, now: datetime, others_wait: bool = True) -> datetime:
        """Note why it could not be sent, and return when it is tried again.

        `others_wait`: all others of its topic wait as long as it, because they would fare no better.
        """
        due_at = next_try(failed.attempts, now)
        unsent = (notifications.c.topic == failed.topic, notifications.c.published_at.is_(None))
        with self._database.write() as connection:
            connection.execute(
                update(notifications)
                .where(notifications.c.id == failed.id)
                .values(attempts=failed.attempts + 1, error=error[:LONGEST_ERROR], due_at=due_at)
            )
            if others_wait:
                connection.execute(
                    update(notifications).where(*unsent, notifications.c.due_at < due_at).values(due_at=due_at)
                )
        return due_at

    def explain_unsent(self, topic: str, reason: str) -> None:
        """Note on all that is unsent why it is. It stays due."""
        other = or_(notifications.c.error.is_(None), notifications.c.error != reason)
        unsent = (notifications.c.topic == topic, notifications.c.published_at.is_(None), other)
        with self._database.read() as connection:
            if connection.execute(select(notifications.c.id).where(*unsent).limit(1)).first() is None:
                return
        with self._database.write() as connection:
            connection.execute(update(notifications).where(*unsent).values(error=reason))

    def unsent(self, topic: str) -> tuple[int, str | None]:
        """Count what is unsent, and say why the one that was tried most is."""
        where = (notifications.c.topic == topic, notifications.c.published_at.is_(None))
        with self._database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(notifications).where(*where)) or 0
            worst = select(notifications.c.error).where(*where).order_by(notifications.c.attempts.desc()).limit(1)
            return count, connection.scalar(worst) if count else None


def next_try(failed: int, now: datetime) -> datetime:
    """Return when to try again what has failed so often before."""
    return now + min(FIRST_DELAY * (1 << min(failed, 20)), LONGEST_DELAY)


def post_invalidations(
    connection: Connection, closed: Collection[tuple[str, Sequence[str], datetime]], reason: str
) -> None:
    """Write down that a CDN is to forget paths of images: (image, paths, time)."""
    if closed:
        connection.execute(
            insert(notifications),
            [
                _row(
                    new_id(),
                    INVALIDATION,
                    json.dumps({"id": image_id, "reason": reason, "paths": list(paths)}, separators=(",", ":")),
                    {"CustomerId": image_id.partition("/")[0]},
                    now,
                )
                for image_id, paths, now in closed
            ],
        )


def post(
    connection: Connection, notification_id: str, topic: str, body: str, attributes: Mapping[str, str], *, now: datetime
) -> None:
    """Write a notification, due at once, in the transaction of what it reports."""
    connection.execute(insert(notifications), [_row(notification_id, topic, body, attributes, now)])


def _row(
    notification_id: str, topic: str, body: str, attributes: Mapping[str, str], now: datetime
) -> dict[str, object]:
    return {
        "id": notification_id,
        "topic": topic,
        "body": body,
        "attributes": dict(attributes),
        "created_at": now,
        "attempts": 0,
        "due_at": now,
    }


def _notification(row: object) -> Notification:
    names = ("id", "topic", "body", "attributes", "created_at", "published_at", "attempts", "error")
    return Notification(*(getattr(row, name) for name in names))
