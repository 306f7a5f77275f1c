"""Reports from the ledger: the state of images, of batches, of the whole; and requesting images again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Subquery, exists, func, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.request_states import SHOWN_STATES, UNFINISHED, Event, MessageState, RequestState, ShownState
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.stages import STAGES, Lane, Stage
from dlcs_assets.ledger import batch_counts
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.image_counts import add_up, images_by_state, is_scattered
from dlcs_assets.ledger.overtaken import end_overtaken
from dlcs_assets.ledger.records import Attempt, RecordedResults, ended_attempts, recorded_results, slices, stages_of
from dlcs_assets.ledger.requests import NewRequest, create_requests
from dlcs_assets.ledger.tables import ENDED_OTHERWISE, batches, claims, images, messages, requests, unfinished
from dlcs_assets.ledger.transitions import CANCELLED, change_state

_RETRIED_BY_ID: Final = (RequestState.DONE, RequestState.NOT_RENEWED, RequestState.CANCELLED)
PAGE = 500  # images per query: SQLite's limit of bound variables is far above


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """Where an image is, and why. `state` is one of `ShownState`."""

    asset_id: str
    state: str
    request_id: str | None = None
    lane: str | None = None
    batch: int | None = None
    attempts: int = 0
    created_at: datetime | None = None
    due_at: datetime | None = None
    finished_at: datetime | None = None
    error_code: str | None = None
    error_stage: str | None = None
    error_cause: str | None = None
    error_remedy: str | None = None
    registration: Registration | None = None
    stages: dict[Stage, StageResult] = field(default_factory=dict)
    objects: tuple[ObjectRecord, ...] = ()

    @property
    def reason(self) -> str | None:
        """One line that names stage, cause and remedy, or None if there is nothing to explain."""
        if self.error_cause is None:
            return None
        where = f"{self.error_stage}: " if self.error_stage else ""
        return f"{where}{self.error_cause} ({self.error_code}). {self.error_remedy}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the shape of `dlcs status --json`."""
        thumbnails = self.stages.get(Stage.THUMBNAILS)
        facts = thumbnails.facts if thumbnails else {}
        return {
            "id": self.asset_id,
            "state": self.state,
            "stages": {stage: result.outcome for stage, result in self.stages.items()},
            "reason": self.reason,
            "code": self.error_code,
            "width": facts.get("width"),
            "height": facts.get("height"),
            "locations": [
                f"s3://{stored.bucket}/{stored.key}"
                for stored in self.objects
                if stored.kind in {ObjectKind.JP2, ObjectKind.ORIGINAL}
            ],
            "thumbnails": [
                f"s3://{stored.bucket}/{stored.key}" for stored in self.objects if stored.kind is ObjectKind.THUMBNAIL
            ],
            "batch": self.batch,
            "attempts": self.attempts,
            "bytes": sum(stored.bytes for stored in self.objects),
            "created": self.created_at.isoformat() if self.created_at else None,
            "finished": self.finished_at.isoformat() if self.finished_at else None,
            "due": self.due_at.isoformat() if self.due_at and self.state == ShownState.PENDING else None,
        }


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A request that a person withdrew: when, and why."""

    at: datetime
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images: by id, customer, space, batch, the code of their failure, their state. All that is given holds."""

    ids: tuple[str, ...] = ()
    customer: int | None = None
    space: int | None = None
    batch: int | None = None
    code: str | None = None
    state: str | None = None  # as in `ImageStatus`


class Reports:
    """The state of everything, and asking for images again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def images(self, selection: Selection, *, limit: int = 100_000) -> list[ImageStatus]:
        """Return the images of the selection in the order of their ids, waiting and rejected ones included.

        Beyond the limit are those of later customers and spaces first.
        """
        found: list[ImageStatus] = []
        with self._database.read() as connection:
            rows: list[Row[Any]] = []
            for query in _in_order(_current_requests(selection), selection):
                rows += connection.execute(query.limit(limit - len(rows)))
            for start in range(0, len(rows), PAGE):
                page = rows[start : start + PAGE]
                ids = [row.image_id for row in page]
                recorded = recorded_results(connection, ids)
                found += [_status(row, recorded) for row in page]
            if (only_rejected := _only_rejected(selection)) is not None:
                found += _rejected_images(connection, only_rejected, limit - len(found))
        return sorted(found, key=lambda status: status.asset_id)

    def counts(self, selection: Selection | None = None) -> dict[str, int]:
        """Count the images of the selection by state."""
        chosen = selection or Selection()
        counted: dict[str, int] = dict.fromkeys(ShownState, 0)
        with self._database.read() as connection:
            for state, count in _count_by_state(connection, chosen).items():
                counted[SHOWN_STATES[state]] += count
            if (only_rejected := _only_rejected(chosen)) is not None:
                images_of = only_rejected.with_only_columns(messages.c.image_id).distinct().subquery()
                counted[ShownState.REJECTED] += connection.scalar(select(func.count()).select_from(images_of)) or 0
        return counted

    def add_up_counts(self) -> None:
        """Add up what sessions of PostgreSQL have counted, each for itself, if it has become much."""
        with self._database.read() as connection:
            scattered = is_scattered(connection)
        if scattered:
            with self._database.write() as connection:
                add_up(connection)

    def registration(self, asset_id: AssetId) -> Registration | None:
        """Return what is registered of an image."""
        with self._database.read() as connection:
            found = connection.scalar(select(images.c.registration).where(images.c.id == str(asset_id)))
        return Registration.of_json(found) if found is not None else None

    def origins_among(self, bucket: str, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are the registered origin of some image."""
        with self._database.read() as connection:
            return set(
                connection.scalars(
                    select(images.c.origin_key).where(
                        images.c.origin_bucket == bucket, images.c.origin_key.in_(list(keys))
                    )
                )
            )

    def idle_since(self, image_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Return when the last request of each image ended, None while one has not; images unknown are left out."""
        found: dict[str, datetime | None] = {}
        for ids in slices(image_ids):
            with self._database.read() as connection:
                known = select(images.c.id, images.c.registered_at).where(images.c.id.in_(ids))
                found |= {row.id: row.registered_at for row in connection.execute(known)}
                by_image = select(requests.c.image_id, func.max(requests.c.finished_at).label("ended")).where(
                    requests.c.image_id.in_(ids)
                )
                for row in connection.execute(by_image.group_by(requests.c.image_id)):
                    if row.image_id in found:
                        found[row.image_id] = row.ended
                busy = select(requests.c.image_id).where(requests.c.image_id.in_(ids), requests.c.state.in_(UNFINISHED))
                held = select(claims.c.image_id).where(claims.c.image_id.in_(ids))
                found |= dict.fromkeys([*connection.scalars(busy), *connection.scalars(held)])
        return found

    def last_cancelled(self, image_id: str) -> Cancelled | None:
        """Return what was cancelled last of an image, if nothing was asked for since."""
        with self._database.read() as connection:
            row = connection.execute(_cancelled(Selection(ids=(image_id,)))).one_or_none()
        return None if row is None else Cancelled(row.finished_at, row.error_cause, row.error_remedy)

    def attempts(self, request_id: str) -> list[Attempt]:
        """Return the attempts at a request that have ended, the first one first."""
        with self._database.read() as connection:
            return ended_attempts(connection, [request_id]).get(request_id, [])

    def retry(self, selection: Selection, *, now: datetime) -> list[str]:
        """Write a new request for every failed image of the selection; return their ids. A deletion is taken up again.

        Images named by id are asked for again whatever their state, unless they are pending or in progress already.
        What was cancelled is asked for again by id, or by the code that all of that has.
        """
        chosen: list[str] = []
        wanted: list[NewRequest] = []
        with self._database.write() as connection:
            if selection.code == CANCELLED:
                for row in connection.execute(_cancelled(selection)).all():
                    asset_id, stages = AssetId.parse(row.image_id), stages_of(row.stages)
                    wanted.append(
                        NewRequest(asset_id, Lane.RETRY, now, batch=row.batch, stages=stages, renews=row.renews)
                    )
                    chosen.append(row.image_id)
            for row in connection.execute(_current_requests(selection)).all():
                state = RequestState(row.state)
                if row.lane == Lane.DELETE:
                    end_overtaken(connection, requests.c.id == row.id, now=now)
                    if change_state(connection, Event.RETRIED, requests.c.id == row.id, due_at=now):
                        chosen.append(row.image_id)
                elif row.registration is not None and (
                    state is RequestState.FAILED
                    or (selection.ids and state in _RETRIED_BY_ID)
                    or (selection.code is not None and state is RequestState.NOT_RENEWED)
                ):
                    asset_id = AssetId.parse(row.image_id)
                    wanted.append(NewRequest(asset_id, Lane.RETRY, now, batch=row.batch, renews=True))
                    chosen.append(row.image_id)
            create_requests(connection, wanted, now)
        return chosen

    def pending_reasons(self, lanes: Sequence[Lane]) -> dict[str, int]:
        """Count what is pending in these lanes by the code of its last failure ('' for the first attempt)."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(requests.c.error_code, func.count())
                .where(unfinished(RequestState.PENDING), requests.c.lane.in_(list(lanes)))
                .group_by(requests.c.error_code)
            ).all()
        return {code or "": count for code, count in rows}


def _current_requests(selection: Selection) -> Select[Any]:
    """Select the request that decides the state of each image, joined with its registration.

    That is its unfinished one if there is one, otherwise the newest; in a batch, the one that the batch asked for,
    or the one that took its place.
    """
    query = (
        select(requests, images.c.registration)
        .outerjoin(images, images.c.id == requests.c.image_id)
        .where(*_where(requests, selection))
    )
    if selection.batch is None:
        query = query.where(requests.c.is_current)
    else:
        of_image = _of_batch(selection, selection.batch)
        query = query.join(of_image, of_image.c.request_id == requests.c.id)
    if selection.code is not None:
        query = query.where(requests.c.error_code == selection.code)
    if selection.state is not None:
        query = query.where(requests.c.state.in_(_states(selection.state)))
    return query


def _cancelled(selection: Selection) -> Select[Any]:
    """Select what was cancelled last of each image, if nothing was asked for since."""
    since = requests.alias("since")
    asked_since = exists().where(
        since.c.image_id == requests.c.image_id,
        since.c.id > requests.c.id,
        since.c.state != RequestState.SUPERSEDED,
    )
    query = (
        select(requests)
        .join(images, images.c.id == requests.c.image_id)
        .where(requests.c.state == RequestState.CANCELLED, ~asked_since, *_where(requests, selection))
    )
    return query if selection.batch is None else query.where(requests.c.batch == selection.batch)


def _of_batch(selection: Selection, batch_id: int) -> Subquery:
    """Return the requests that decide about images of a batch: all, if some that are done may be wanted."""
    which = select(batches.c.id, batches.c.customer).where(batches.c.id == batch_id)
    if selection.customer is not None:
        which = which.where(batches.c.customer == selection.customer)
    if selection.code is None and selection.state in {None, ShownState.DONE}:
        return batch_counts.asked(which.subquery())
    return batch_counts.asked(which.subquery(), batch_counts.UNFINISHED, ENDED_OTHERWISE)


def _in_order(query: Select[Any], selection: Selection) -> list[Select[Any]]:
    """Return queries for the rows of one, in an order that an index has for each state."""
    in_order = query.order_by(requests.c.customer, requests.c.space, requests.c.image_id)
    if selection.state is None:
        return [in_order]
    return [in_order.where(requests.c.state == state) for state in _states(selection.state)]


def _states(shown: str) -> list[str]:
    """Return the states of requests that are shown as this one."""
    return [state for state, shown_as in SHOWN_STATES.items() if shown_as == shown]


def _count_by_state(connection: Connection, selection: Selection) -> Mapping[str, int]:
    """Return how many images of the selection there are by the state of their requests."""
    if replace(selection, customer=None, space=None) == Selection():
        return images_by_state(connection, customer=selection.customer, space=selection.space)
    if selection.batch is not None and replace(selection, batch=None, customer=None) == Selection():
        return batch_counts.images_by_state(connection, selection.batch, selection.customer)
    chosen = _current_requests(selection).subquery()
    query = select(chosen.c.state, func.count().label("images")).select_from(chosen).group_by(chosen.c.state)
    return {row.state: row.images for row in connection.execute(query)}


def _where(table: FromClause, selection: Selection) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if selection.ids:
        wanted.append(table.c.image_id.in_(selection.ids))
    if selection.customer is not None:
        wanted.append(table.c.customer == selection.customer)
    if selection.space is not None:
        wanted.append(table.c.space == selection.space)
    return wanted


def _status(row: Row[Any], recorded: RecordedResults) -> ImageStatus:
    results = recorded.of_stages.get(row.image_id, {})
    return ImageStatus(
        asset_id=row.image_id,
        state=SHOWN_STATES[row.state],
        request_id=row.id,
        lane=row.lane,
        batch=row.batch,
        attempts=row.attempts,
        created_at=row.created_at,
        due_at=row.due_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error_stage=row.error_stage,
        error_cause=row.error_cause,
        error_remedy=row.error_remedy,
        registration=Registration.of_json(row.registration) if row.registration is not None else None,
        stages={stage: results[stage][1] for stage in STAGES if stage in results},
        objects=tuple(recorded.objects.get(row.image_id, ())),
    )


def _only_rejected(selection: Selection) -> Select[Any] | None:
    """Return a query for the rejected messages of images that were never requested; None where none can be meant."""
    if selection.batch is not None or selection.code is not None or selection.state not in {None, ShownState.REJECTED}:
        return None
    query = select(messages).where(
        messages.c.state == MessageState.REJECTED,
        messages.c.image_id.is_not(None),
        ~exists().where(requests.c.image_id == messages.c.image_id, requests.c.state != RequestState.SUPERSEDED),
    )
    if selection.ids:
        query = query.where(messages.c.image_id.in_(selection.ids))
    if selection.customer is not None or selection.space is not None:
        customer, space = ("%" if each is None else each for each in (selection.customer, selection.space))
        query = query.where(messages.c.image_id.like(f"{customer}/{space}/%"))
    return query


def _rejected_images(connection: Connection, query: Select[Any], limit: int) -> list[ImageStatus]:
    """Return images that are known only from a rejected message, with the reason of the last one."""
    found: dict[str, ImageStatus] = {}
    for row in connection.execute(query.order_by(messages.c.received_at)):
        found[row.image_id] = ImageStatus(
            asset_id=row.image_id,
            state=ShownState.REJECTED,
            error_code=row.code,
            error_cause=row.cause,
            error_remedy=row.remedy,
            created_at=row.received_at,
        )
    return list(found.values())[: max(limit, 0)]
