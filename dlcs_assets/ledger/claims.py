"""Images in progress: claimed by a run, kept by its heartbeat, returned when the run ends without finishing them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, or_, select, update

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.request_states import (
    LOSSES_AMONG_OTHERS,
    SHOWN_AS_DONE,
    WITHOUT_EFFECT,
    Event,
    RequestState,
)
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger.attempts import (
    claim_requests,
    holders,
    return_requests,
    take_chunk,
)
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.launches import record_started
from dlcs_assets.ledger.losses import begin_images, end_held, losses_of, run_lost, run_terminated
from dlcs_assets.ledger.overtaken import end_overtaken, request_again
from dlcs_assets.ledger.records import RetrySchedule, new_id, recorded_results, slices, stages_of
from dlcs_assets.ledger.requests import NewRequest, create_requests
from dlcs_assets.ledger.tables import attempts, chunk_images, chunks, claims, images, outcomes, requests
from dlcs_assets.ledger.transitions import CANCELLED, Reason, change_state
from dlcs_assets.ledger.write_backs import IS_UNWRITTEN, add_failed


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run got: a token, the images that it holds now, and those it must leave alone, with the reason."""

    token: str
    run_id: str
    items: tuple[WorkItem, ...]
    skipped: tuple[tuple[AssetId, str], ...] = ()


class Claims:
    """Who works on which image. At most one run holds an image."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim_chunk(self, chunk_id: str, run_id: str, *, now: datetime) -> Claim | None:
        """Claim the images of a chunk for the run it was made for; None if the chunk is another run's, or ended."""
        token = new_id()
        with self._database.write() as connection:
            if not take_chunk(connection, chunk_id, run_id):
                return None
            record_started(connection)
            end_overtaken(connection, requests.c.chunk_id == chunk_id, now=now)
            rows = connection.execute(
                select(requests)
                .join(chunk_images, chunk_images.c.request_id == requests.c.id)
                .where(chunk_images.c.chunk_id == chunk_id)
                .order_by(chunk_images.c.position)
            ).all()
            held = holders(connection, [row.image_id for row in rows])
            skipped: list[tuple[AssetId, str]] = []
            returned: list[str] = []
            mine: list[str] = []
            for row in rows:
                asset_id = AssetId.parse(row.image_id)
                if row.state != RequestState.RESERVED or row.chunk_id != chunk_id:
                    skipped.append((asset_id, f"its request is {row.state} by now"))
                elif row.image_id in held:
                    skipped.append((asset_id, f"run {held[row.image_id]} works on it"))
                    returned.append(row.id)
                else:
                    mine.append(row.id)
            return_requests(connection, returned, now)
            items = _claim(connection, mine, token, run_id, now)
        return Claim(token, run_id, items, tuple(skipped))

    def claim_images(
        self, asset_ids: Sequence[AssetId], stages: Collection[Stage], run_id: str, *, now: datetime
    ) -> Claim:
        """Write a request for each image (a person asked for these stages) and claim it, unless a run holds it."""
        token = new_id()
        with self._database.write() as connection:
            ids = [str(asset_id) for asset_id in asset_ids]
            known = set(connection.scalars(select(images.c.id).where(images.c.id.in_(ids))))
            held, done = holders(connection, ids), _done_by(connection, run_id, ids)
            skipped: list[tuple[AssetId, str]] = []
            mine: list[NewRequest] = []
            for asset_id in asset_ids:
                if str(asset_id) not in known:
                    skipped.append((asset_id, "it is not registered"))
                elif str(asset_id) in done:
                    skipped.append((asset_id, "a former process of this run has done it"))
                elif str(asset_id) in held:
                    skipped.append((asset_id, f"run {held[str(asset_id)]} works on it"))
                else:
                    mine.append(
                        NewRequest(
                            asset_id,
                            Lane.MANUAL,
                            now,
                            Event.LAUNCHED_BY_HAND,
                            stages=frozenset(stages),
                            renews=True,
                        )
                    )
            create_requests(connection, mine, now)
            items = _claim(connection, [new.id for new in mine], token, run_id, now)
        return Claim(token, run_id, items, tuple(skipped))

    def begin(self, token: str, request_ids: Collection[str], *, now: datetime) -> set[str]:
        """Note that work on these images begins; return those that the token still holds.

        To be called, and to have returned, before anything is done for an image: if the run dies, only images that it
        had begun are charged.
        """
        with self._database.write_held() as connection:
            return begin_images(connection, token, request_ids, now)

    def heartbeat(self, token: str, *, now: datetime) -> int:
        """Renew all claims under the token; return how many there still are."""
        with self._database.write_held() as connection:
            return connection.execute(update(claims).where(claims.c.token == token).values(heartbeat_at=now)).rowcount

    def held_under(self, token: str) -> frozenset[str]:
        """Return the ids of the images that the token holds."""
        with self._database.read() as connection:
            return frozenset(connection.scalars(select(claims.c.image_id).where(claims.c.token == token)))

    def request_again(self, asset_id: AssetId, *, now: datetime) -> None:
        """Request the image again, or its deletion: a run that had lost it may have stored or deleted objects since.

        Between its last check and its last call to S3 the run may have stood still, for as long as one likes.
        """
        with self._database.write(by_former_owner=True) as connection:
            request_again(connection, asset_id, now)

    def end_former(self, run_id: str, *, schedule: RetrySchedule, now: datetime) -> int:
        """End what a former process of the run holds that was killed; return how many images that were.

        To be called by the process that took its place (`Workers`), before it claims anything. The images stay in the
        run's chunk, but for those that are to have a run of their own by now.
        """
        with self._database.write() as connection:
            held = end_held(connection, claims.c.run_id == run_id, loss=run_lost, schedule=schedule, now=now)
            losses = losses_of(connection, [row.request_id for row in held])
            for chunk_id in {row.chunk_id for row in held if row.chunk_id is not None}:
                images_in = select(func.count()).where(chunk_images.c.chunk_id == chunk_id)
                most = None if connection.scalar(images_in) == 1 else LOSSES_AMONG_OTHERS
                kept = [
                    row.request_id
                    for row in held
                    if row.chunk_id == chunk_id and (most is None or losses.get(row.request_id, 0) < most)
                ]
                change_state(connection, Event.RESERVED, requests.c.id.in_(kept), chunk_id=chunk_id)
        return len(held)

    def release(
        self, token: str, run_id: str, *, schedule: RetrySchedule, now: datetime, terminated: bool = False
    ) -> int:
        """Release what a process holds under its token, at its end; return how many images that were.

        What another process of the same run holds is none of its business. Without a token nothing is released.
        `terminated`: a person ended the run. Then its images are not due again, in no other transaction either: they
        would be launched again at once, to the surprise of the operator who stopped it. Deletions are, all the same.
        """
        if not token:
            return 0
        with self._database.write() as connection:
            loss = run_terminated if terminated else run_lost
            held = end_held(connection, claims.c.token == token, loss=loss, schedule=schedule, now=now)
            left = [row.request_id for row in held]
            elsewhere = select(claims.c.request_id).where(claims.c.run_id == run_id).limit(1)
            if connection.execute(elsewhere).first() is None:
                left += _close_chunks_of(connection, run_id, now)
            if terminated:
                _withdraw(connection, left, run_id, now, writes_back=schedule.writes_back)
        return len(held)

    def release_run(self, run_id: str, *, schedule: RetrySchedule, now: datetime, terminated: bool = False) -> int:
        """Release all that a lost run holds; return how many images that were.

        One that was in progress by itself is counted an attempt, so that one that kills its run is not retried
        indefinitely. What the run had not begun is as it was. `terminated`: as for `release`.
        """
        with self._database.write() as connection:
            loss = run_terminated if terminated else run_lost
            held = end_held(connection, claims.c.run_id == run_id, loss=loss, schedule=schedule, now=now)
            returned = _close_chunks_of(connection, run_id, now)
            if not terminated:
                return len(held)
            left = [*(row.request_id for row in held), *returned]
            _withdraw(connection, left, run_id, now, writes_back=schedule.writes_back)
        return len(left)

    def active_runs(self) -> dict[str, datetime]:
        """Return the runs that hold claims or an open chunk, with their last sign of life."""
        found: dict[str, datetime] = {}
        with self._database.read() as connection:
            for row in connection.execute(
                select(chunks.c.run_id, chunks.c.created_at).where(
                    chunks.c.closed_at.is_(None), chunks.c.run_id.is_not(None)
                )
            ):
                found[row.run_id] = row.created_at
            for row in connection.execute(select(claims.c.run_id, claims.c.heartbeat_at)):
                found[row.run_id] = max(found.get(row.run_id, row.heartbeat_at), row.heartbeat_at)
        return found

    def is_taken_over(self, token: str, request_id: str) -> bool:
        """Return whether the request is held under another token."""
        with self._database.read() as connection:
            held_by = connection.scalar(select(claims.c.token).where(claims.c.request_id == request_id))
        return held_by not in {None, token}

    def claimed_requests(self) -> set[str]:
        """Return the ids of the requests that runs hold."""
        with self._database.read() as connection:
            return set(connection.scalars(select(claims.c.request_id)))

    def ended(self, work: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those (request, end of the claim's token) whose request is known and whose claim is not."""
        ids = {request for request, _ in work}
        with self._database.read() as connection:
            known = set(connection.scalars(select(requests.c.id).where(requests.c.id.in_(ids))))
            held = connection.execute(select(claims.c.request_id, claims.c.token).where(claims.c.request_id.in_(ids)))
            tokens = {row.request_id: row.token for row in held}
        return {
            (request, end) for request, end in work if request in known and not tokens.get(request, "").endswith(end)
        }


def _claim(
    connection: Connection, request_ids: list[str], token: str, run_id: str, now: datetime
) -> tuple[WorkItem, ...]:
    found = connection.execute(
        select(requests, images.c.registration)
        .join(images, images.c.id == requests.c.image_id)
        .where(requests.c.id.in_(request_ids))
    )
    row_of = {row.id: row for row in found}
    rows = [row_of[request_id] for request_id in request_ids if request_id in row_of]
    if not rows:
        return ()
    claim_requests(connection, rows, token, run_id, now)
    ids = [row.image_id for row in rows]
    recorded = recorded_results(connection, ids)
    results, stored = recorded.of_stages, recorded.objects
    tried = exists().where(attempts.c.request_id == requests.c.id)
    earlier = or_(requests.c.id.not_in(request_ids), tried)
    known = set(connection.scalars(select(requests.c.image_id).where(requests.c.image_id.in_(ids), earlier)))
    sound = _done_and_sound(connection, [row for row in rows if row.renews])
    # Dagster expects news of every stage from this run. If it dies before it has reported them, reconcile must.
    connection.execute(
        update(outcomes)
        .where(outcomes.c.image_id.in_(ids), outcomes.c.request_id.in_(request_ids))
        .values(reported=False)
    )
    return tuple(
        WorkItem(
            request_id=row.id,
            asset_id=AssetId.parse(row.image_id),
            registration=Registration.of_json(row.registration),
            stages=stages_of(row.stages),
            attempt=row.attempts + 1,
            batch=row.batch,
            done={
                stage: result
                for stage, (request_id, result) in results.get(row.image_id, {}).items()
                if request_id == row.id
            },
            latest={stage: result for stage, (_, result) in results.get(row.image_id, {}).items()},
            objects=tuple(stored.get(row.image_id, ())),
            is_first=row.image_id not in known and row.image_id not in stored,
            renews_done=row.image_id in sound,
        )
        for row in rows
    )


def _done_and_sound(connection: Connection, rows: Sequence[Row[Any]]) -> set[str]:
    """Return the images of these requests that were done before, with nothing stored that is known to be damaged."""
    if not rows:
        return set()
    image_ids, own = [row.image_id for row in rows], [row.id for row in rows]
    earlier = (
        select(requests.c.image_id, requests.c.state)
        .where(requests.c.image_id.in_(image_ids), requests.c.id.not_in(own), requests.c.state.not_in(WITHOUT_EFFECT))
        .order_by(requests.c.id)
    )
    before = {row.image_id: row.state for row in connection.execute(earlier)}  # the last one of each remains
    damaged = select(outcomes.c.image_id).where(outcomes.c.image_id.in_(image_ids), outcomes.c.damaged)
    was_done = {image_id for image_id, state in before.items() if state in SHOWN_AS_DONE}
    return was_done - set(connection.scalars(damaged))


def _done_by(connection: Connection, run_id: str, image_ids: Sequence[str]) -> set[str]:
    """Return those of the images that the run has done already: it was resumed."""
    query = (
        select(requests.c.image_id)
        .join(attempts, attempts.c.request_id == requests.c.id)
        .where(requests.c.image_id.in_(image_ids), requests.c.state.in_(SHOWN_AS_DONE), attempts.c.run_id == run_id)
    )
    return set(connection.scalars(query))


def _close_chunks_of(connection: Connection, run_id: str, now: datetime) -> list[str]:
    """Close the run's chunks; return the requests that it has not claimed, which are due again."""
    returned: list[str] = []
    for chunk_id in connection.scalars(
        select(chunks.c.id).where(chunks.c.run_id == run_id, chunks.c.closed_at.is_(None))
    ).all():
        returned += _close_chunk(connection, chunk_id, now)
    return returned


def _close_chunk(connection: Connection, chunk_id: str, now: datetime) -> Sequence[str]:
    connection.execute(update(chunks).where(chunks.c.id == chunk_id).values(closed_at=now))
    reserved = select(requests.c.id).where(requests.c.chunk_id == chunk_id, requests.c.state == RequestState.RESERVED)
    ids = connection.scalars(reserved).all()
    return_requests(connection, ids, now)
    return ids


def _withdraw(
    connection: Connection, request_ids: Sequence[str], run_id: str, now: datetime, *, writes_back: bool
) -> None:
    """Cancel these requests, which are due again, but for deletions: an image that is half deleted is of no use.

    Dagster may show what the run did not come to as failed, or as missing: what there is of it is reported again.
    """
    for ids in slices(request_ids):
        chosen = (requests.c.id.in_(ids), requests.c.lane != Lane.DELETE, ~IS_UNWRITTEN)
        change_state(connection, Event.CANCELLED, *chosen, now=now, failure=_terminated(run_id))
        cancelled = select(requests.c.image_id).where(*chosen, requests.c.state == RequestState.CANCELLED)
        connection.execute(update(outcomes).where(outcomes.c.image_id.in_(cancelled)).values(reported=False))
        if writes_back:
            add_failed(connection, ids, now)


def _terminated(run_id: str) -> Reason:
    return Reason(
        CANCELLED,
        f"Run {run_id} was terminated by hand before this image was done",
        "If that was a mistake: dlcs retry --reason cancelled",
    )
