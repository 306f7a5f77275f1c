"""Images to look through: page by page in an order that an index has, so that a page costs the same in every ledger.

Nothing here is counted that grows with the ledger: where more than `MOST_COUNTED` rows would be, it is said so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, func, select, tuple_

from dlcs_assets.domain.request_states import SHOWN_STATES, MessageState, RequestState, ShownState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger.batch_counts import asked
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.image_counts import kept_counts
from dlcs_assets.ledger.records import Attempt, ended_attempts, new_id, recorded_results
from dlcs_assets.ledger.tables import batches, images, messages, outcomes, requests

MOST_COUNTED: Final = 10_000
LOOKED_THROUGH: Final = 5_000  # requests, for the newest of a customer or of a state
NAMES_LOOKED_THROUGH: Final = 100_000  # for a part of a name: entries of an index, read in milliseconds
MOST_REQUESTS: Final = 20  # of one image
_ESCAPE: Final = "!"  # of what LIKE would read as a pattern
_DIGITS_OF_A_TIME: Final = 16  # with which the id of a request begins
_FAILED: Final = (RequestState.FAILED, RequestState.REJECTED)
_SHOWN: Final = (
    requests.c.id,
    requests.c.image_id,
    requests.c.customer,
    requests.c.space,
    requests.c.state,
    requests.c.created_at,
    requests.c.finished_at,
    requests.c.error_code,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """Which images: all that is given holds. A batch is of a customer."""

    customer: int | None = None
    space: int | None = None
    batch: int | None = None
    state: ShownState | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of images: by customer, space, name."""

    customer: int
    space: int
    image_id: str


@dataclass(frozen=True, slots=True)
class Tile:
    """An image on a wall, with its thumbnails."""

    place: Place
    request_id: str
    state: ShownState
    created_at: datetime
    finished_at: datetime | None
    error_code: str | None
    thumbnails: tuple[ObjectRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Wall:
    """Some of the images that are to be shown, in their order. `before`, `after`: whether there are more."""

    tiles: tuple[Tile, ...]
    before: bool = False
    after: bool = False


@dataclass(frozen=True, slots=True)
class Newest:
    """Images by the time when they were asked for, the newest first. `older` continues it; None: there are no more."""

    tiles: tuple[Tile, ...]
    older: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Registered images with a text in their names, in the order of their ids. `more`: after which id to continue."""

    tiles: tuple[Tile, ...]
    more: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Images that failed with one code, and what was said of one of them. `count` is `MOST_COUNTED` at most.

    Of rejected messages whose image was never asked for, the example is the message's own id where it names none.
    """

    state: ShownState
    code: str
    count: int
    example: str
    cause: str
    remedy: str
    is_message: bool = False


@dataclass(frozen=True, slots=True)
class PastRequest:
    """A request for an image, with its attempts, the first one first."""

    id: str
    lane: str
    stages: str
    batch: int | None
    state: str
    created_at: datetime
    due_at: datetime
    finished_at: datetime | None
    superseded_by: str | None
    is_current: bool
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """When and by which run a stage's result came about."""

    stage: Stage
    run_id: str
    request_id: str
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class SubmittedBatch:
    """A batch, without its numbers: these are counted from all of its images."""

    id: int
    customer: int
    submitted_at: datetime
    finished_at: datetime | None


class Gallery:
    """Images in pages, reasons with examples, and what happened to one image."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def wall(self, shown: Shown, *, after: Place | None = None, before: Place | None = None, limit: int = 100) -> Wall:
        """Return up to `limit` images next to a place, in order of customer, space and name; from the first if none."""
        backwards = before is not None
        with self._database.read() as connection:
            rows = _in_order(connection, shown, before if backwards else after, limit + 1, backwards=backwards)
            more, rows = len(rows) > limit, rows[:limit]
            if backwards:
                rows.reverse()
            tiles = _tiles(connection, rows)
        if backwards:
            return Wall(tiles, before=more, after=True)
        return Wall(tiles, before=after is not None, after=more)

    def newest(self, shown: Shown, *, older_than: str | None = None, limit: int = 100) -> Newest:
        """Return what was asked for last. Of a customer or state, among the next `LOOKED_THROUGH` requests.

        So there may be fewer images than `limit`, and still older ones. Not for a batch, which has a wall.
        """
        where = [column == value for column, value in _equal(replace(shown, batch=None))]
        if shown.state is not None:
            where.append(requests.c.state.in_(_states(shown)))
        window = [] if older_than is None else [requests.c.id < older_than]
        newest_first = requests.c.id.desc()
        with self._database.read() as connection:
            last = select(requests.c.id).where(*window).order_by(newest_first).offset(LOOKED_THROUGH - 1).limit(1)
            lowest: str | None = connection.scalar(last)
            if lowest is not None:
                window.append(requests.c.id >= lowest)
            query = select(*_SHOWN).where(requests.c.is_current, *window, *where)
            rows = list(connection.execute(query.order_by(newest_first).limit(limit + 1)))
            older = rows[limit - 1].id if len(rows) > limit else lowest
            return Newest(_tiles(connection, rows[:limit]), older)

    def find(self, text: str, *, after: str = "", limit: int = 100) -> Found:
        """Return images that have a text in their names, or in their ids if it has a slash; case does not matter.

        It is looked for among the next `NAMES_LOOKED_THROUGH` images, so there may be more where nothing was found.
        """
        escaped = re.sub(r"[!%_]", rf"{_ESCAPE}\g<0>", text)
        pattern = f"%{escaped}%" if "/" in text else f"%/%/%{escaped}%"
        following = select(images.c.id).where(images.c.id > after).order_by(images.c.id)
        with self._database.read() as connection:
            last: str | None = connection.scalar(following.offset(NAMES_LOOKED_THROUGH - 1).limit(1))
            query = following.where(images.c.id.ilike(pattern, escape=_ESCAPE)).limit(limit + 1)
            ids = connection.scalars(query if last is None else query.where(images.c.id <= last)).all()
            of_these = select(*_SHOWN).where(requests.c.is_current, requests.c.image_id.in_(ids[:limit]))
            tiles = _tiles(connection, connection.execute(of_these.order_by(requests.c.image_id)).all())
        return Found(tiles, ids[limit - 1] if len(ids) > limit else last)

    def arrived(self, since: datetime) -> dict[int, dict[ShownState, int]]:
        """Return of how many images of each customer the newest request is from then on, by what became of it.

        `MOST_COUNTED` are counted at most.
        """
        first = new_id(since)[:_DIGITS_OF_A_TIME]
        newer = select(requests.c.customer, requests.c.state).where(requests.c.is_current, requests.c.id >= first)
        some = newer.limit(MOST_COUNTED).subquery()
        found: dict[int, dict[ShownState, int]] = {}
        with self._database.read() as connection:
            for customer, state, count in connection.execute(
                select(some.c.customer, some.c.state, func.count()).group_by(some.c.customer, some.c.state)
            ):
                numbers = found.setdefault(customer, dict.fromkeys(ShownState, 0))
                numbers[SHOWN_STATES[state]] += count
        return dict(sorted(found.items()))

    def reasons(self, *, customer: int | None = None) -> list[Reason]:
        """Return why images failed or were rejected, the most frequent first."""
        with self._database.read() as connection:
            found = [each for state in _FAILED for each in _reasons(connection, state, customer)]
            found += _rejected_messages(connection, customer)
        return sorted(found, key=lambda each: (-each.count, each.code))

    def batches(self, *, limit: int) -> list[SubmittedBatch]:
        """Return the batches that were submitted last, the last one first."""
        query = select(batches.c.id, batches.c.customer, batches.c.submitted_at, batches.c.finished_at)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(batches.c.submitted_at.desc(), batches.c.id.desc()).limit(limit))
            return [SubmittedBatch(*row) for row in rows]

    def past(self, image_id: str) -> list[PastRequest]:
        """Return the newest requests for an image, the newest first."""
        newest = select(requests).where(requests.c.image_id == image_id).order_by(requests.c.id.desc())
        with self._database.read() as connection:
            rows = connection.execute(newest.limit(MOST_REQUESTS)).all()
            tried = ended_attempts(connection, [row.id for row in rows])
        return [
            PastRequest(
                row.id,
                row.lane,
                row.stages,
                row.batch,
                row.state,
                row.created_at,
                row.due_at,
                row.finished_at,
                row.superseded_by,
                row.is_current,
                tuple(tried.get(row.id, ())),
            )
            for row in rows
        ]

    def committed(self, image_id: str) -> dict[Stage, Committed]:
        """Return when the last result of each stage of an image came about."""
        query = select(outcomes.c.stage, outcomes.c.run_id, outcomes.c.request_id, outcomes.c.committed_at)
        with self._database.read() as connection:
            rows = connection.execute(query.where(outcomes.c.image_id == image_id)).all()
        found = {Stage(row.stage): Committed(Stage(row.stage), *row[1:]) for row in rows}
        return {stage: found[stage] for stage in STAGES if stage in found}

    def stored(self, image_id: str) -> Sequence[ObjectRecord]:
        """Return what is stored of an image."""
        with self._database.read() as connection:
            return recorded_results(connection, [image_id]).objects.get(image_id, ())

    def spaces(self) -> dict[tuple[int, int], dict[ShownState, int]]:
        """Return how many images each space of each customer has, by state."""
        found: dict[tuple[int, int], dict[ShownState, int]] = {}
        with self._database.read() as connection:
            for (customer, space, state), count in kept_counts(connection).items():
                numbers = found.setdefault((customer, space), dict.fromkeys(ShownState, 0))
                numbers[SHOWN_STATES[state]] += count
        return dict(sorted(found.items()))


def _equal(shown: Shown) -> list[tuple[Any, Any]]:
    given = (
        (requests.c.customer, shown.customer),
        (requests.c.space, shown.space),
        (requests.c.error_code, shown.code),
    )
    return [(column, value) for column, value in given if value is not None]


def _states(shown: Shown) -> list[str]:
    if shown.state is not None:
        return [state for state, word in SHOWN_STATES.items() if word == shown.state]
    # Reasons are shown of what failed, not of what will be tried again.
    return list(_FAILED) if shown.code is not None else list(SHOWN_STATES)


def _in_order(
    connection: Connection, shown: Shown, place: Place | None, limit: int, *, backwards: bool
) -> list[Row[Any]]:
    """Return the rows next to a place: of a state each index has an order, and the first of all are among these."""
    columns = [requests.c.customer, requests.c.space, requests.c.image_id]
    where: list[ColumnElement[bool]] = [column == value for column, value in _equal(shown)]
    if place is not None:
        where.append(_beyond(shown, place, backwards=backwards))
    order = [column.desc() if backwards else column.asc() for column in columns]
    if shown.batch is not None:
        of_batch = select(batches.c.id, batches.c.customer).where(
            batches.c.id == shown.batch, batches.c.customer == shown.customer
        )
        of_image = asked(of_batch.subquery())
        query = select(*_SHOWN).join(of_image, of_image.c.request_id == requests.c.id)
        where.append(requests.c.state.in_(_states(shown)))
        return list(connection.execute(query.where(*where).order_by(*order).limit(limit)))
    found: list[Row[Any]] = []
    for state in _states(shown):
        of_state = select(*_SHOWN).where(requests.c.is_current, requests.c.state == state, *where)
        found += connection.execute(of_state.order_by(*order).limit(limit))
    found.sort(key=lambda row: (row.customer, row.space, row.image_id), reverse=backwards)
    return found[:limit]


def _beyond(shown: Shown, place: Place, *, backwards: bool) -> ColumnElement[bool]:
    """Compare with a place by what is not the same for all that is shown: an index ends where that begins."""
    free: list[tuple[Any, Any]] = [(requests.c.image_id, place.image_id)]
    if shown.space is None or shown.customer is None:
        free.insert(0, (requests.c.space, place.space))
    if shown.customer is None:
        free.insert(0, (requests.c.customer, place.customer))
    here = tuple_(*(column for column, _ in free))
    there = tuple_(*(value for _, value in free))
    return here < there if backwards else here > there


def _tiles(connection: Connection, rows: Sequence[Any]) -> tuple[Tile, ...]:
    stored = recorded_results(connection, [row.image_id for row in rows]).objects
    return tuple(
        Tile(
            Place(row.customer, row.space, row.image_id),
            row.id,
            SHOWN_STATES[row.state],
            row.created_at,
            row.finished_at,
            row.error_code,
            tuple(each for each in stored.get(row.image_id, ()) if each.kind is ObjectKind.THUMBNAIL),
        )
        for row in rows
    )


def _reasons(connection: Connection, state: RequestState, customer: int | None) -> list[Reason]:
    """Go from code to code in the index, which has them in order."""
    where = [requests.c.is_current, requests.c.state == state, requests.c.error_code.is_not(None)]
    if customer is not None:
        where.append(requests.c.customer == customer)
    found: list[Reason] = []
    code = ""
    while True:
        next_code = select(requests.c.error_code).where(*where, requests.c.error_code > code)
        code = connection.scalar(next_code.order_by(requests.c.error_code).limit(1)) or ""
        if not code:
            return found
        with_code = (*where, requests.c.error_code == code)
        some = select(requests.c.id).where(*with_code).limit(MOST_COUNTED).subquery()
        example = connection.execute(
            select(requests.c.image_id, requests.c.error_cause, requests.c.error_remedy).where(*with_code).limit(1)
        ).one()
        count = connection.scalar(select(func.count()).select_from(some)) or 0
        shown = SHOWN_STATES[state]
        found.append(Reason(shown, code, count, example[0], example[1] or "", example[2] or ""))


def _rejected_messages(connection: Connection, customer: int | None) -> list[Reason]:
    """Return the newest rejected messages by code; of all customers together, `MOST_COUNTED` are counted."""
    rejected = select(messages.c.id, messages.c.customer, messages.c.code).where(
        messages.c.state == MessageState.REJECTED
    )
    newest = rejected.order_by(messages.c.received_at.desc()).limit(MOST_COUNTED).subquery()
    groups = select(newest.c.code, func.count().label("count"), func.max(newest.c.id).label("id"))
    if customer is not None:
        groups = groups.where(newest.c.customer == customer)
    rows = connection.execute(groups.group_by(newest.c.code)).all()
    named = select(messages.c.id, messages.c.image_id, messages.c.cause, messages.c.remedy)
    examples = {row.id: row for row in connection.execute(named.where(messages.c.id.in_([row.id for row in rows])))}
    return [
        Reason(
            ShownState.REJECTED,
            row.code or "",
            row[1],
            examples[row.id].image_id or row.id,
            examples[row.id].cause or "",
            examples[row.id].remedy or "",
            is_message=True,
        )
        for row in rows
    ]
