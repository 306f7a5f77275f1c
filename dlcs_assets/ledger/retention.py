"""Retention: deleting rows of history that are old enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, delete, exists, func, or_, select, update

from dlcs_assets.domain.request_states import ENDED, SETTLED_MESSAGES, WITHOUT_EFFECT, MessageState
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.tables import (
    attempts,
    batches,
    chunks,
    messages,
    notifications,
    requests,
    workers,
)

SLICE = 1000  # rows per write transaction: other writers wait for some hundredths of a second at most
CHUNKS_SLICE = 20  # each with its list of up to 1,000 images


@dataclass(frozen=True, slots=True)
class _Old:
    """A kind of rows: its name in reports, which of them are old, and what is done with a slice of their ids."""

    name: str
    old: Select[str]
    purge: Callable[[Connection, Sequence[str]], object]
    slice: int


class Retention:
    """Deletes history in short transactions. What the state of an image or of an unfinished batch rests on stays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enforce(self, *, history: datetime, bodies: datetime, dry_run: bool = False) -> dict[str, int]:
        """Delete what ended before `history`, and the bodies of messages rejected before `bodies`.

        Returns how many rows of each kind that were; attempts are those of requests that stay. With `dry_run` they are
        only counted.
        """
        kinds = [
            _old_attempts(history),
            _old_requests(history),
            _old_chunks(history),
            _old_messages(history),
            _old_bodies(bodies),
            _old_notifications(history),
            _old_workers(history),
        ]
        return {kind.name: self._count(kind) if dry_run else self._purge(kind) for kind in kinds}

    def _count(self, kind: _Old) -> int:
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(kind.old.subquery())) or 0

    def _purge(self, kind: _Old) -> int:
        """Walk over the old rows in the order of their ids: each slice is found by a read, and purged by a write."""
        gone, last = 0, ""
        (key,) = kind.old.selected_columns
        while True:
            with self._database.read() as connection:
                ids = connection.scalars(kind.old.where(key > last).order_by(key).limit(kind.slice)).all()
            if not ids:
                return gone
            with self._database.write() as connection:
                kind.purge(connection, ids)
            gone, last = gone + len(ids), ids[-1]


def _old_attempts(before: datetime) -> _Old:
    # Those of an unfinished request stay: they are not history yet, and the next one's number follows theirs.
    ended = exists().where(requests.c.id == attempts.c.request_id, requests.c.state.in_(ENDED))
    old = attempts.c.ended_at < before
    return _Old(
        "attempts",
        select(attempts.c.request_id).where(old, ended).distinct(),
        lambda connection, ids: connection.execute(delete(attempts).where(attempts.c.request_id.in_(ids), old)),
        SLICE,
    )


def _old_requests(before: datetime) -> _Old:
    newer, asked = requests.alias("newer"), requests.alias("asked")
    # An image's state is that of its newest request that had an effect.
    outlived = exists().where(
        newer.c.image_id == requests.c.image_id, newer.c.id > requests.c.id, newer.c.state.not_in(WITHOUT_EFFECT)
    )
    for_open_batch = exists().where(
        asked.c.image_id == requests.c.image_id,
        or_(asked.c.id == requests.c.id, asked.c.superseded_by == requests.c.id),
        _of_open_batch(asked.c.batch, asked.c.customer),
    )
    old = and_(requests.c.finished_at < before, outlived, ~for_open_batch)
    # Their attempts go with them.
    return _old_rows("requests", requests.c.id, old)


def _old_chunks(before: datetime) -> _Old:
    # Their lists of images go with them.
    return _old_rows("chunks", chunks.c.id, chunks.c.closed_at < before, CHUNKS_SLICE)


def _old_messages(before: datetime) -> _Old:
    old = and_(messages.c.state.in_(SETTLED_MESSAGES), messages.c.received_at < before)
    return _old_rows("messages", messages.c.id, old)


def _old_bodies(before: datetime) -> _Old:
    # The reason stays, and so does the id, which keeps the message from being taken in again.
    old = and_(messages.c.state == MessageState.REJECTED, messages.c.received_at < before, messages.c.body.is_not(None))
    return _Old(
        "rejected bodies",
        select(messages.c.id).where(old),
        lambda connection, ids: connection.execute(
            update(messages).where(messages.c.id.in_(ids)).values(body=None, attributes=None)
        ),
        SLICE,
    )


def _old_notifications(before: datetime) -> _Old:
    return _old_rows("notifications", notifications.c.id, notifications.c.published_at < before)


def _old_workers(before: datetime) -> _Old:
    return _old_rows("processes of runs", workers.c.run_id, workers.c.heartbeat_at < before)


def _old_rows(name: str, key: Column[Any], old: ColumnElement[bool], at_once: int = SLICE) -> _Old:
    """Return what deletes the rows of the key's table that are old."""
    return _Old(
        name,
        select(key).where(old),
        lambda connection, ids: connection.execute(delete(key.table).where(key.in_(ids))),
        at_once,
    )


def _of_open_batch(batch: ColumnElement[Any], customer: ColumnElement[Any]) -> ColumnElement[bool]:
    return exists().where(batches.c.id == batch, batches.c.customer == customer, batches.c.finished_at.is_(None))
