"""Backfills in the ledger: their requests, how far they are, withdrawing what waits, and asking for it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, exists, func, insert, literal, select, tuple_, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.backfill import Backfill, Words
from dlcs_assets.domain.request_states import Event, RequestState
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger import backfill_counts
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import stages_of
from dlcs_assets.ledger.requests import NewRequest, create_requests
from dlcs_assets.ledger.tables import backfills, images, outcomes, requests
from dlcs_assets.ledger.transitions import CANCELLED, Reason, change_state, leave_backfill
from dlcs_assets.ledger.write_backs import IS_UNWRITTEN

PAGE: Final = 500  # images per transaction, so that no other writer waits for long
MOST_COUNTED: Final = 10_000  # failures, of which the reasons are counted
# What a rate is made of: what runs ended.
_WORKED: Final = (RequestState.DONE, RequestState.NOT_RENEWED, RequestState.FAILED)
_AGAIN: Final = (RequestState.CANCELLED, RequestState.FAILED)


class BackfillCancelledError(Exception):
    """No more images are requested for a backfill: it was cancelled meanwhile. The message is complete."""


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Images of a backfill that failed with one code, with one of them as the example."""

    code: str
    count: int
    example: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How many images of a backfill end in a minute, and how long the rest takes at that rate; None: unknown."""

    a_minute: float
    left: timedelta | None


class Backfills:
    """How far they are costs the same however many images they have: what has ended is kept, not counted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, words: Words, *, asked_by: str, now: datetime) -> int:
        """Note a new backfill, by the words of its selection; return its number."""
        with self._database.write() as connection:
            number = (connection.scalar(select(func.max(backfills.c.id))) or 0) + 1
            values = {"id": number, "words": dict(words), "asked_by": asked_by, "begun_at": now}
            connection.execute(insert(backfills).values(values))
        return number

    def request(self, backfill: int, wanted: Sequence[tuple[AssetId, frozenset[Stage]]], *, now: datetime) -> int:
        """Request these stages of each image, unless the backfill has the image already; return how many that were.

        Images that are not registered (any more) are skipped. Raises `BackfillCancelledError`.
        """
        made = 0
        for start in range(0, len(wanted), PAGE):
            page = wanted[start : start + PAGE]
            with self._database.write() as connection:
                if connection.scalar(select(backfills.c.cancelled_at).where(backfills.c.id == backfill)):
                    raise BackfillCancelledError(
                        f"Backfill {backfill} was cancelled while its images were requested. What is in runs already "
                        "comes to its end."
                    )
                ids = [str(asset_id) for asset_id, _ in page]
                there = set(connection.scalars(select(images.c.id).where(images.c.id.in_(ids))))
                in_it = select(requests.c.image_id).where(
                    requests.c.image_id.in_(ids),
                    requests.c.backfill + 0 == backfill,  # by image, not by backfill
                )
                there.difference_update(connection.scalars(in_it))
                new = [
                    NewRequest(asset_id, Lane.BACKFILL, now, stages=stages, renews=True, backfill=backfill)
                    for asset_id, stages in page
                    if str(asset_id) in there
                ]
                create_requests(connection, new, now)
            made += len(new)
        return made

    def all_requested(self, backfill: int, *, now: datetime) -> None:
        """Note that all images of the selection have been requested."""
        with self._database.write() as connection:
            connection.execute(update(backfills).where(backfills.c.id == backfill).values(requested_at=now))

    def find(self, backfill: int) -> Backfill | None:
        """Return a backfill with its numbers."""
        with self._database.read() as connection:
            found = _counted(connection, select(backfills).where(backfills.c.id == backfill))
        return found[0] if found else None

    def newest(self, *, unended: bool = False, limit: int = 50) -> list[Backfill]:
        """Return backfills with their numbers, the newest first."""
        chosen = select(backfills).order_by(backfills.c.id.desc()).limit(limit)
        if unended:
            chosen = chosen.where(backfills.c.ended_at.is_(None))
        with self._database.read() as connection:
            return _counted(connection, chosen)

    def ended_since(self, backfill: int, since: datetime) -> int:
        """Count the images of the backfill that runs ended after this moment: what a rate is made of."""
        lately = (*_in_state(backfill, *_WORKED), requests.c.finished_at > since)
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).where(*lately)) or 0

    def pace(self, backfill: Backfill, *, now: datetime, over: timedelta) -> Pace | None:
        """Return how fast a backfill was in the last time, or since it began; None for one that has ended."""
        if not backfill.unended:
            return None
        window = min(over, max(now - backfill.begun_at, timedelta(seconds=1)))
        ended = self.ended_since(backfill.id, now - window)
        return Pace(ended / (window / timedelta(minutes=1)), backfill.time_left(ended, window))

    def reasons(self, backfill: int) -> list[FailureReason]:
        """Return why images failed, the most frequent reason first; `MOST_COUNTED` images are looked at."""
        columns = (requests.c.id, requests.c.image_id, requests.c.error_code)
        failed = select(*columns).where(*_in_state(backfill, RequestState.FAILED)).limit(MOST_COUNTED).subquery()
        by_code = select(failed.c.error_code, func.count().label("number"), func.min(failed.c.id).label("id"))
        with self._database.read() as connection:
            rows = connection.execute(by_code.group_by(failed.c.error_code)).all()
            of_these = select(requests).where(requests.c.id.in_([row.id for row in rows]))
            examples = {row.id: row for row in connection.execute(of_these)}
        found = [(row.number, examples[row.id]) for row in rows]
        return [
            FailureReason(row.error_code or "", count, row.image_id, row.error_cause or "", row.error_remedy or "")
            for count, row in sorted(found, key=lambda each: (-each[0], each[1].error_code or ""))
        ]

    def cancel(self, backfill: int, *, now: datetime) -> int | None:
        """Withdraw what of it waits for a run; return how many images that are, None if it has ended already.

        What is done stays done, and what runs hold comes to its end. Should this be interrupted, `settle` continues.
        """
        with self._database.write() as connection:
            not_ended = (backfills.c.id == backfill, backfills.c.ended_at.is_(None))
            if not connection.execute(update(backfills).where(*not_ended).values(cancelled_at=now)).rowcount:
                return None
        return self._withdraw(backfill, now)

    def resume(self, backfill: int, *, now: datetime) -> int:
        """Request again what of it was withdrawn or failed; return how many images that are.

        An image that was asked for since is left as it is, and so is one that is not registered any more.
        """
        with self._database.write() as connection:
            reopened = {"cancelled_at": None, "ended_at": None}
            connection.execute(update(backfills).where(backfills.c.id == backfill).values(reopened))
        return sum(self._request_again(backfill, state, now) for state in _AGAIN)

    def settle(self, *, now: datetime) -> list[Backfill]:
        """Withdraw what runs returned to cancelled backfills; note those that have ended, and return these."""
        with self._database.read() as connection:
            found = _counted(connection, select(backfills).where(backfills.c.ended_at.is_(None)))
        for each in found:
            if each.cancelled_at and each.pending:
                self._withdraw(each.id, now)
        return [each for each in found if each.has_ended and self._end(each.id, now)]

    def _end(self, backfill: int, now: datetime) -> bool:
        with self._database.write() as connection:
            # Counted again while there is no other writer: it may have been resumed since.
            chosen = select(backfills).where(backfills.c.id == backfill, backfills.c.ended_at.is_(None))
            if not any(each.has_ended for each in _counted(connection, chosen)):
                return False
            connection.execute(update(backfills).where(backfills.c.id == backfill).values(ended_at=now))
            backfill_counts.add_up(connection, backfill)
        return True

    def _withdraw(self, backfill: int, now: datetime) -> int:
        """Cancel what waits in the lane of backfills; what a message asked for as well is wanted all the same.

        So no DLCS waits for any of these. What only waits to be written to a DLCS is over.
        """
        withdrawn = 0
        waiting = select(requests.c.id, requests.c.image_id, requests.c.created_at, requests.c.due_at).where(
            *_in_state(backfill, RequestState.PENDING), requests.c.lane == Lane.BACKFILL, ~IS_UNWRITTEN
        )
        while True:
            with self._database.write() as connection:
                rows = connection.execute(waiting.limit(PAGE)).all()
                if not rows:
                    return withdrawn
                chosen = requests.c.id.in_([row.id for row in rows])
                withdrawn += change_state(connection, Event.CANCELLED, chosen, now=now, failure=_cancelled(backfill))
                # Of what was in a run Dagster may show that it failed, or that it is missing.
                tried = [row.image_id for row in rows if row.due_at > row.created_at]
                if tried:
                    connection.execute(update(outcomes).where(outcomes.c.image_id.in_(tried)).values(reported=False))

    def _request_again(self, backfill: int, state: RequestState, now: datetime) -> int:
        asked = 0
        for page in self._ended_in(backfill, state):
            with self._database.write() as connection:
                # Chosen again while there is no other writer.
                since = requests.alias("since")
                asked_since = exists().where(
                    since.c.image_id == requests.c.image_id,
                    since.c.id > requests.c.id,
                    since.c.state != RequestState.SUPERSEDED,
                )
                rows = connection.execute(
                    select(requests)
                    .join(images, images.c.id == requests.c.image_id)
                    .where(requests.c.id.in_(page), requests.c.state == state, ~asked_since)
                    .where(requests.c.backfill + 0 == backfill)
                ).all()
                again = [
                    NewRequest(
                        AssetId.parse(row.image_id),
                        Lane.BACKFILL,
                        now,
                        stages=stages_of(row.stages),
                        renews=row.renews,
                        backfill=backfill,
                    )
                    for row in rows
                ]
                leave_backfill(connection, [row.id for row in rows])
                create_requests(connection, again, now)
            asked += len(rows)
        return asked

    def _ended_in(self, backfill: int, state: RequestState) -> Iterator[Sequence[str]]:
        """Yield the ids of the requests that ended so, in pages; what is made of a page does not disturb the next."""
        place = (requests.c.finished_at, requests.c.id)  # the order that the index has
        query = select(*place).where(*_in_state(backfill, state)).order_by(*place).limit(PAGE)
        rest = query
        while True:
            with self._database.read() as connection:
                rows = connection.execute(rest).all()
            if not rows:
                return
            yield [row.id for row in rows]
            last = (literal(value, each.type) for value, each in zip(rows[-1], place, strict=True))
            rest = query.where(tuple_(*place) > tuple_(*last))


def _in_state(backfill: int, *states: RequestState) -> tuple[ColumnElement[bool], ...]:
    return requests.c.backfill == backfill, requests.c.state.in_(states)


def _cancelled(backfill: int) -> Reason:
    return Reason(
        CANCELLED,
        f"Backfill {backfill} was cancelled before this image was done",
        f"To continue it: dlcs backfills resume {backfill}",
    )


def _counted(connection: Connection, chosen: Select[Any]) -> list[Backfill]:
    """Return the backfills of a query, in its order, with their numbers: two queries for all of them."""
    rows = connection.execute(chosen).all()
    ids = [row.id for row in rows]
    ended = backfill_counts.ended_of(connection, ids)
    unended = [row.id for row in rows if row.ended_at is None]
    running = select(requests.c.backfill, func.count().label("images")).where(
        requests.c.backfill.in_(unended), requests.c.state == RequestState.RUNNING
    )
    found = connection.execute(running.group_by(requests.c.backfill)) if unended else ()
    in_runs = {row.backfill: row.images for row in found}
    return [
        Backfill(
            row.id,
            row.words,
            row.asked_by,
            row.begun_at,
            row.requested_at,
            row.cancelled_at,
            row.ended_at,
            row.images,
            in_runs.get(row.id, 0),
            ended.get(row.id, {}),
        )
        for row in rows
    ]
