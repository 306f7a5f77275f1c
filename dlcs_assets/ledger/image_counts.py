"""How many images are in which state: kept by the database itself (see `triggers`), and added up here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from dlcs_assets.ledger.tables import image_counts, requests

ADDED_UP: Final = 0  # the session of what no session of its own has
ROWS_LEFT: Final = 1000  # rows of sessions that are not worth a transaction: they are read in milliseconds

Counts = Mapping[tuple[int, int, str], int]


def images_by_state(connection: Connection, *, customer: int | None, space: int | None) -> dict[str, int]:
    """Return how many images there are by the state of their current request; None: of all customers, or spaces."""
    query = select(image_counts.c.state, func.sum(image_counts.c.images)).group_by(image_counts.c.state)
    if customer is not None:
        query = query.where(image_counts.c.customer == customer)
    if space is not None:
        query = query.where(image_counts.c.space == space)
    return {state: int(images) for state, images in connection.execute(query)}


def is_scattered(connection: Connection) -> bool:
    """Return whether sessions have left so many rows that they should be added up."""
    of_sessions = select(func.count()).where(image_counts.c.session != ADDED_UP)
    return (connection.scalar(of_sessions) or 0) > ROWS_LEFT


def add_up(connection: Connection) -> None:
    """Make one row of those of all sessions, in a transaction that is the only one that writes."""
    kept = kept_counts(connection)
    connection.execute(delete(image_counts))
    rows = [
        {"customer": customer, "space": space, "state": state, "session": ADDED_UP, "images": images}
        for (customer, space, state), images in kept.items()
    ]
    if rows:
        connection.execute(insert(image_counts), rows)


def kept_counts(connection: Connection) -> Counts:
    """Return the numbers that are kept, by customer, space and state, without those that are 0."""
    key = (image_counts.c.customer, image_counts.c.space, image_counts.c.state)
    images = func.sum(image_counts.c.images)
    rows = connection.execute(select(*key, images).group_by(*key).having(images != 0))
    return {(customer, space, state): int(number) for customer, space, state, number in rows}


def counted_from_requests(connection: Connection) -> Counts:
    """Return the same, counted from the requests."""
    key = (requests.c.customer, requests.c.space, requests.c.state)
    rows = connection.execute(select(*key, func.count()).where(requests.c.is_current).group_by(*key))
    return {(customer, space, state): number for customer, space, state, number in rows}
