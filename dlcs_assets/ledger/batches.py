"""Batches in the ledger: declaring and closing them, counting where their images are, and noting that they ended."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Subquery,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from dlcs_assets.domain.batch import Batch, completed_notification
from dlcs_assets.domain.ingest_request import BatchReference
from dlcs_assets.domain.request_states import SHOWN_STATES, UNSUCCESSFUL, MessageState
from dlcs_assets.ledger.batch_counts import UNFINISHED, asked, counted, is_done, refused_messages, which_is
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.outbox import post
from dlcs_assets.ledger.tables import ENDED_OTHERWISE, REFUSED, batches, messages, requests

BATCH_COMPLETED = "batch-completed"  # the outbox's name for the topic


class UnusableBatchError(Exception):
    """More images can't be submitted to a batch. The message is complete."""


@dataclass(frozen=True, slots=True)
class BatchImage:
    """Where an image of a batch is, and why. `image_id` is None for a rejected message that names no image.

    `corrected`: it ended otherwise than well, and is done by now.
    """

    image_id: str | None
    state: str
    code: str | None = None
    cause: str | None = None
    remedy: str | None = None
    corrected: bool = False

    @property
    def reason(self) -> str | None:
        """One line that names cause and remedy, or None if there is nothing to explain."""
        return f"{self.cause} ({self.code}). {self.remedy}" if self.cause else None


class Batches:
    """Every number is of one moment. What it costs follows the images that are not done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, batch_id: int, *, customer: int | None = None) -> list[Batch]:
        """Return the batch with its numbers; without a customer that of each customer who has one of this number."""
        where = [batches.c.id == batch_id, *([] if customer is None else [batches.c.customer == customer])]
        with self._database.read() as connection:
            return counted(connection, select(batches).where(*where).order_by(batches.c.customer))

    def newest(self, *, customer: int | None = None, unfinished: bool = False, limit: int = 50) -> list[Batch]:
        """Return batches with their numbers, the one that was submitted last first."""
        chosen = select(batches).order_by(batches.c.submitted_at.desc(), batches.c.id.desc()).limit(limit)
        if customer is not None:
            chosen = chosen.where(batches.c.customer == customer)
        if unfinished:
            chosen = chosen.where(batches.c.finished_at.is_(None))
        with self._database.read() as connection:
            return counted(connection, chosen)

    def open_batches(self) -> tuple[int, int]:
        """Return how many batches are not finished, and how many of them have no declared count and are not closed."""
        unknown = and_(batches.c.count.is_(None), batches.c.closed_at.is_(None))
        query = select(func.count(), func.count().filter(unknown)).where(batches.c.finished_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).one()
        return row[0], row[1]

    def next_id(self, customer: int) -> int:
        """Return the next number that no batch of the customer has."""
        with self._database.read() as connection:
            return _next_id(connection, customer)

    def declare(self, customer: int, count: int, *, batch_id: int | None = None, now: datetime) -> int:
        """Note how many images a batch has; return its number, the next free one if none is given.

        Raises UnusableBatchError for one that is finished, or that was declared with another count.
        """
        with self._database.write() as connection:
            number = _next_id(connection, customer) if batch_id is None else batch_id
            row = _row(connection, number, customer)
            if row is not None:
                _check_usable(row, count)
            note_batch(connection, BatchReference(number, count), customer, now)
        return number

    def close(self, batch_id: int, customer: int, *, now: datetime) -> bool:
        """Note that nothing more will be submitted: what has come is its count. False if it is closed or finished."""
        with self._database.write() as connection:
            still_open = (batches.c.closed_at.is_(None), batches.c.finished_at.is_(None))
            closing = update(batches).where(which_is(batch_id, customer), *still_open).values(closed_at=now)
            return bool(connection.execute(closing).rowcount)

    def finish_due(self, *, now: datetime, limit: int = 50) -> list[Batch]:
        """Note that batches whose images have all ended are finished, and write the notification of each.

        A batch is finished once: images that are asked for again later don't change that, nor are they notified again.
        """
        nothing_unended = ~exists().where(
            requests.c.batch == batches.c.id,
            requests.c.customer == batches.c.customer,
            UNFINISHED,
        )
        with self._database.read() as connection:
            quiet = select(batches).where(_may_finish(), nothing_unended).order_by(batches.c.submitted_at)
            ended = [batch for batch in counted(connection, quiet, with_superseded=False) if batch.has_ended]
        # Counted again while there is no other writer: an image may have been asked for again since.
        finished = (self._finish(batch.id, batch.customer, now) for batch in ended[:limit])
        return [batch for batch in finished if batch]

    def images(self, batch_id: int, customer: int, *, failures_only: bool = False) -> list[BatchImage]:
        """Return where each image of the batch is, by id; messages that name none come last."""
        of_image = asked(_one(batch_id, customer), *([ENDED_OTHERWISE] if failures_only else []))
        query = (
            select(requests, is_done(requests.c.image_id).label("is_done"))
            .join(of_image, of_image.c.request_id == requests.c.id)
            .order_by(requests.c.image_id)
        )
        if failures_only:
            query = query.where(requests.c.state.in_(UNSUCCESSFUL))
        with self._database.read() as connection:
            found = [_batch_image(row) for row in connection.execute(query)]
            refused = _refused(connection, batch_id, customer)
        return sorted([*found, *refused], key=lambda image: (image.image_id is None, image.image_id or ""))

    def refused(self, batch_id: int, customer: int) -> list[BatchImage]:
        """Return what `images` has of rejected messages: images that were asked for by no other message."""
        with self._database.read() as connection:
            return _refused(connection, batch_id, customer)

    def ended_since(self, batch_id: int, customer: int, since: datetime) -> int:
        """Count the images of the batch that ended after this moment: what a rate is made of."""
        of_image = asked(_one(batch_id, customer), requests.c.finished_at > since, ENDED_OTHERWISE)
        ended = select(func.count()).join_from(of_image, requests, of_image.c.request_id == requests.c.id)
        with self._database.read() as connection:
            return connection.scalar(ended.where(requests.c.finished_at > since)) or 0

    def _finish(self, batch_id: int, customer: int, now: datetime) -> Batch | None:
        with self._database.write() as connection:
            found = counted(connection, select(batches).where(which_is(batch_id, customer), _may_finish()))
            for batch in found:
                if not batch.has_ended:
                    continue
                connection.execute(update(batches).where(which_is(batch_id, customer)).values(finished_at=now))
                finished = replace(batch, finished_at=now)
                post_finished(connection, finished, now)
                return finished
        return None


def finish_as_counted(connection: Connection, ended: Collection[Batch], *, since: datetime, now: datetime) -> None:
    """Note that batches have finished, as a DLCS has counted them, and write the notification of each.

    What finished before `since`, when its image was asked for, is another one's to report.
    """
    for batch in ended:
        if batch.finished_at is None or batch.finished_at < since:
            continue
        open_here = (which_is(batch.id, batch.customer), batches.c.finished_at.is_(None))
        values = {"finished_at": now, "count": batch.declared}
        if connection.execute(update(batches).where(*open_here).values(values)).rowcount:
            post_finished(connection, batch, now)


def post_finished(connection: Connection, batch: Batch, now: datetime) -> None:
    """Write the notification of a batch that is finished."""
    body = completed_notification(batch, batch.finished_at or now)
    attributes = {"CustomerId": str(batch.customer)}
    post(connection, notification_id(batch.id, batch.customer), BATCH_COMPLETED, body, attributes, now=now)


def notification_id(batch_id: int, customer: int) -> str:
    """Return the id of a batch's notification: there is one at most."""
    return f"batch-{customer}-{batch_id}"


def note_batch(connection: Connection, batch: BatchReference, customer: int | None, now: datetime) -> int | None:
    """Note what a message says of its batch; return the batch's customer.

    Of a rejected message the customer may not be readable (None): it is that of the only batch with this number.
    """
    if customer is None:
        owners = connection.scalars(select(batches.c.customer).where(batches.c.id == batch.id)).all()
        return owners[0] if len(owners) == 1 else None
    row = _row(connection, batch.id, customer)
    if row is None:
        connection.execute(insert(batches).values(id=batch.id, customer=customer, count=batch.count, submitted_at=now))
        orphaned = (
            messages.c.batch == batch.id,
            messages.c.customer.is_(None),
            REFUSED,
        )
        connection.execute(update(messages).where(*orphaned).values(customer=customer))
    elif batch.count not in {None, row["count"]} and row["finished_at"] is None:
        connection.execute(update(batches).where(which_is(batch.id, customer)).values(count=batch.count))
    return customer


def _one(batch_id: int, customer: int) -> Subquery:
    return select(batches.c.id, batches.c.customer).where(which_is(batch_id, customer)).subquery()


def _batch_image(row: Row[Any]) -> BatchImage:
    corrected = row.state in UNSUCCESSFUL and row.is_done
    return BatchImage(
        row.image_id, SHOWN_STATES[row.state], row.error_code, row.error_cause, row.error_remedy, corrected
    )


def _refused(connection: Connection, batch_id: int, customer: int) -> list[BatchImage]:
    """Return one for each image, with the reason that came last, and one for each message that names no image."""
    refused = refused_messages(_one(batch_id, customer)).add_columns(is_done(messages.c.image_id).label("is_done"))
    rows = connection.execute(refused).all()
    rejected = [
        BatchImage(row.image_id, MessageState.REJECTED, row.code, row.cause, row.remedy, row.is_done)
        # An order in SQL makes SQLite go through the messages of all batches.
        for row in sorted(rows, key=lambda row: row.received_at)
    ]
    named = {image.image_id: image for image in rejected if image.image_id is not None}
    return [*named.values(), *(image for image in rejected if image.image_id is None)]


def _may_finish() -> ColumnElement[bool]:
    known = or_(batches.c.count.is_not(None), batches.c.closed_at.is_not(None))
    return and_(batches.c.finished_at.is_(None), known)


def _next_id(connection: Connection, customer: int) -> int:
    newest = connection.scalar(select(func.max(batches.c.id)).where(batches.c.customer == customer))
    return (newest or 0) + 1


def _row(connection: Connection, batch_id: int, customer: int) -> RowMapping | None:
    return connection.execute(select(batches).where(which_is(batch_id, customer))).mappings().one_or_none()


def _check_usable(row: RowMapping, count: int) -> None:
    which = f"Batch {row['id']} of customer {row['customer']}"
    if row["finished_at"]:
        raise UnusableBatchError(
            f"{which} is finished: no notification would report more images in it. "
            "Choose another number, or leave --id out."
        )
    if row["closed_at"]:
        raise UnusableBatchError(f"{which} is closed: no more images belong to it. Choose another number.")
    if row["count"] not in {None, count}:
        raise UnusableBatchError(
            f"{which} was declared with {row['count']} images; this manifest has {count}. Submit the manifest that it "
            "began with, or choose another number."
        )
