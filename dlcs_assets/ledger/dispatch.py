"""Which images are due, and the chunks in which they are given to runs. A chunk's row is an outbox of run requests."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import TAKEN, Event, RequestState
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.losses import losses_of
from dlcs_assets.ledger.records import Chunk, DueImage, new_id, stages_of, stages_text
from dlcs_assets.ledger.tables import chunk_images, chunks, claims, leases, requests, unfinished
from dlcs_assets.ledger.transitions import change_state
from dlcs_assets.ledger.write_backs import IS_UNWRITTEN

LEASE_POLL_SECONDS = 0.1
# Many times what its holder takes, and what dispatch stands still for when a process dies with it.
LEASE_TTL = timedelta(seconds=20)


class Dispatch:
    """From pending requests to chunks, and from chunks to runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def customers_due(self, lane: Lane, *, now: datetime) -> list[int]:
        """Return the customers that have something due in the lane, first those whose last chunk is longest ago."""
        last_chunk = (
            select(func.max(chunks.c.id))
            .where(chunks.c.lane == lane, chunks.c.customer == requests.c.customer)
            .scalar_subquery()
        )
        with self._database.read() as connection:
            rows = connection.execute(
                select(requests.c.customer, func.min(requests.c.due_at), last_chunk)
                .where(
                    unfinished(RequestState.PENDING),
                    requests.c.lane == lane,
                    requests.c.due_at <= now,
                    ~IS_UNWRITTEN,
                )
                .group_by(requests.c.customer)
            ).all()
        return [row[0] for row in sorted(rows, key=lambda row: (row[2] or "", row[1], row[0]))]

    def due(self, lanes: Collection[Lane], *, limit: int, now: datetime, customer: int | None = None) -> list[DueImage]:
        """Return at most `limit` due images that no run holds or is about to, those longest due first.

        They are those of all customers, or of one.
        """
        other = requests.alias("other")
        held = exists().where(claims.c.image_id == requests.c.image_id)
        taken = exists().where(
            other.c.image_id == requests.c.image_id,
            other.c.state.in_(TAKEN),
        )
        with self._database.read() as connection:
            rows = connection.execute(
                select(requests)
                .where(
                    unfinished(RequestState.PENDING),
                    requests.c.lane.in_(list(lanes)),
                    requests.c.due_at <= now,
                    true() if customer is None else requests.c.customer == customer,
                    ~held,
                    ~taken,
                    ~IS_UNWRITTEN,
                )
                .order_by(requests.c.due_at, requests.c.id)
                .limit(limit)
            ).all()
            losses = losses_of(connection, [row.id for row in rows])
        by_image = {row.image_id: row for row in reversed(rows)}  # of two for one image, the one longer due
        chosen = {row.id for row in by_image.values()}
        return [_due_image(row, losses.get(row.id, 0)) for row in rows if row.id in chosen]

    def reserve(self, planned: Sequence[Chunk], now: datetime) -> list[Chunk]:
        """Reserve the images of the planned chunks, in one transaction.

        An image that is no longer pending is left out; a chunk that loses its first or last image that way is left
        out whole (its range would not be what was planned), and its images stay due.
        """
        reserved: list[Chunk] = []
        with self._database.write() as connection:
            for chunk in planned:
                ids = [image.request_id for image in chunk.images]
                pending = set(
                    connection.scalars(
                        select(requests.c.id).where(requests.c.id.in_(ids), requests.c.state == RequestState.PENDING)
                    )
                )
                if ids[0] not in pending or ids[-1] not in pending:
                    continue
                kept = tuple(image for image in chunk.images if image.request_id in pending)
                _insert_chunk(connection, replace(chunk, images=kept), now)
                reserved.append(replace(chunk, images=kept))
        return reserved

    def unlaunched(self, lanes: Collection[Lane]) -> list[Chunk]:
        """Return the open chunks of these lanes for which no run is known yet."""
        waiting = (chunks.c.closed_at.is_(None), chunks.c.run_id.is_(None), chunks.c.lane.in_(list(lanes)))
        with self._database.read() as connection:
            rows = connection.execute(select(chunks).where(*waiting).order_by(chunks.c.id)).all()
            of_chunk = _images_of(connection, [row.id for row in rows])
        return [
            Chunk(
                row.id,
                Lane(row.lane),
                row.customer,
                row.space,
                stages_of(row.stages),
                row.first_key,
                row.last_key,
                tuple(of_chunk.get(row.id, ())),
            )
            for row in rows
        ]

    def in_flight(self) -> dict[tuple[Lane, int], int]:
        """Count the chunks that have not ended, by lane and customer."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(chunks.c.lane, chunks.c.customer, func.count())
                .where(chunks.c.closed_at.is_(None))
                .group_by(chunks.c.lane, chunks.c.customer)
            ).all()
        return {(Lane(lane), customer): count for lane, customer, count in rows}

    def mark_launched(self, chunk_id: str, run_id: str) -> None:
        """Note that Dagster has a run for the chunk."""
        with self._database.write() as connection:
            connection.execute(
                update(chunks).where(chunks.c.id == chunk_id, chunks.c.run_id.is_(None)).values(run_id=run_id)
            )

    @contextmanager
    def lease(self, name: str, *, ttl: timedelta = LEASE_TTL, wait: timedelta = timedelta(0)) -> Iterator[bool]:
        """Hold a named lease, in all processes at most one holder at a time; yields whether it was available."""
        holder, give_up = new_id(), time.monotonic() + wait.total_seconds()
        while not (held := self._take_lease(name, holder, ttl)) and time.monotonic() < give_up:
            time.sleep(LEASE_POLL_SECONDS)
        try:
            yield held
        finally:
            if held:
                with self._database.write() as connection:
                    connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def _take_lease(self, name: str, holder: str, ttl: timedelta) -> bool:
        now = datetime.now(UTC)
        try:
            with self._database.write() as connection:
                connection.execute(delete(leases).where(leases.c.name == name, leases.c.expires_at <= now))
                connection.execute(insert(leases).values(name=name, holder=holder, expires_at=now + ttl))
        except IntegrityError:
            return False
        return True


def _images_of(connection: Connection, chunk_ids: list[str]) -> dict[str, list[DueImage]]:
    rows = connection.execute(
        select(chunk_images.c.chunk_id, requests)
        .join(requests, requests.c.id == chunk_images.c.request_id)
        .where(chunk_images.c.chunk_id.in_(chunk_ids))
        .order_by(chunk_images.c.chunk_id, chunk_images.c.position)
    ).all()
    found: dict[str, list[DueImage]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(_due_image(row))
    return found


def _due_image(row: Row[Any], losses: int = 0) -> DueImage:
    return DueImage(row.id, AssetId.parse(row.image_id), stages_of(row.stages), row.batch, losses, row.backfill)


def _insert_chunk(connection: Connection, chunk: Chunk, now: datetime) -> None:
    connection.execute(
        insert(chunks).values(
            id=chunk.id,
            lane=chunk.lane,
            customer=chunk.customer,
            space=chunk.space,
            stages=stages_text(chunk.stages),
            first_key=chunk.first_key,
            last_key=chunk.last_key,
            created_at=now,
        )
    )
    connection.execute(
        insert(chunk_images),
        [
            {"chunk_id": chunk.id, "position": n, "image_id": str(image.asset_id), "request_id": image.request_id}
            for n, image in enumerate(chunk.images)
        ],
    )
    reserved = requests.c.id.in_([image.request_id for image in chunk.images])
    change_state(connection, Event.RESERVED, reserved, chunk_id=chunk.id)
