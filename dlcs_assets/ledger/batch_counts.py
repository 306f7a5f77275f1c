"""How many images of a batch are where: the queries that count, for one batch or for many at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Subquery,
    TextClause,
    and_,
    exists,
    func,
    select,
    union,
)

from dlcs_assets.domain.batch import Batch, Tally
from dlcs_assets.domain.request_states import SHOWN_AS_DONE, UNSUCCESSFUL, RequestState
from dlcs_assets.ledger.tables import ENDED_OTHERWISE, REFUSED, batches, messages, requests

# Requests that are not done, as indexes have them.
UNFINISHED: Final = requests.c.finished_at.is_(None)


def counted(connection: Connection, chosen: Select[Any], *, with_superseded: bool = True) -> list[Batch]:
    """Return the batches of a query on `batches`, in its order, with their numbers: two queries for all of them.

    What is not done is counted. That all other images of a batch are done follows, as the database keeps their number.
    """
    rows = connection.execute(chosen).mappings().all()
    if not rows:
        return []
    which = chosen.with_only_columns(batches.c.id, batches.c.customer).subquery()
    states = _states(connection, rows, which)
    refused = refused_messages(which).subquery()
    rejected = {
        (row.batch, row.customer): row.named + row.unnamed
        for row in connection.execute(
            select(
                refused.c.batch,
                refused.c.customer,
                func.count(func.distinct(refused.c.image_id)).label("named"),
                func.count().filter(refused.c.image_id.is_(None)).label("unnamed"),
            ).group_by(refused.c.batch, refused.c.customer)
        )
    }
    corrected = _corrected(connection, which, refused) if rejected or _any_unsuccessful(states) else {}
    return [
        Batch(
            *key,
            row["count"],
            row["submitted_at"],
            row["closed_at"],
            row["finished_at"],
            Tally.of_states(states[key], rejected_messages=rejected.get(key, 0), corrected=corrected.get(key, 0)),
            superseded=with_superseded and row["images"] > 0 and _is_superseded(connection, *key),
        )
        for row in rows
        for key in [(row["id"], row["customer"])]
    ]


def _any_unsuccessful(states: Mapping[tuple[int, int], Mapping[str, int]]) -> bool:
    return any(state in UNSUCCESSFUL for counts in states.values() for state in counts)


def _corrected(connection: Connection, which: Subquery, refused: Subquery) -> dict[tuple[int, int], int]:
    """Return how many images of batches are done by now that did not end well in them, as far as there are any."""
    of_image = asked(which, ENDED_OTHERWISE)
    ended = (
        select(of_image.c.id, of_image.c.customer, of_image.c.image_id)
        .join(requests, requests.c.id == of_image.c.request_id)
        .where(requests.c.state.in_(UNSUCCESSFUL), is_done(of_image.c.image_id))
    )
    never_asked = (
        select(refused.c.batch, refused.c.customer, refused.c.image_id)
        .where(refused.c.image_id.is_not(None), is_done(refused.c.image_id))
        .distinct()
    )
    found = ended.union_all(never_asked).subquery()
    rows = connection.execute(select(found.c.id, found.c.customer, func.count()).group_by(found.c.id, found.c.customer))
    return {(batch, customer): count for batch, customer, count in rows}


def is_done(image_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that an image is done now, whatever became of it in a batch."""
    now = requests.alias("now")
    return exists().where(now.c.image_id == image_id, now.c.is_current, now.c.state.in_(SHOWN_AS_DONE))


def images_by_state(connection: Connection, batch_id: int, customer: int | None) -> Mapping[str, int]:
    """Return how many images of a batch there are by the state of their requests; without a customer of each's."""
    chosen = select(batches).where(batches.c.id == batch_id)
    if customer is not None:
        chosen = chosen.where(batches.c.customer == customer)
    which = chosen.with_only_columns(batches.c.id, batches.c.customer).subquery()
    total: Counter[str] = Counter()
    for of_batch in _states(connection, connection.execute(chosen).mappings().all(), which).values():
        total.update(of_batch)
    return total


def asked(which: Subquery, *among: ColumnElement[bool] | TextClause) -> Subquery:
    """Return, for each image of each batch, the request that decides its state.

    That is what the batch asked for last, or what took its place. With conditions, which are for indexes, only of
    images one of whose requests in the batch meets one of these.
    """
    decides = func.max(func.coalesce(requests.c.superseded_by, requests.c.id)).label("request_id")
    in_batch = and_(requests.c.batch == which.c.id, requests.c.customer == which.c.customer)
    if not among:
        of_image: list[ColumnElement[Any]] = [which.c.id, which.c.customer, requests.c.image_id]
        return select(*of_image, decides).join(requests, in_batch).group_by(*of_image).subquery()
    meets = [select(which.c.id, which.c.customer, requests.c.image_id).join(requests, in_batch).where(c) for c in among]
    found = union(*meets).subquery()
    # The sum keeps SQLite, which knows no numbers of rows, from the index by batch: all of the batch for each image.
    own = and_(
        requests.c.image_id == found.c.image_id,
        requests.c.batch + 0 == found.c.id,
        requests.c.customer == found.c.customer,
    )
    return select(*found.c, decides).join(requests, own).group_by(*found.c).subquery()


def _states(
    connection: Connection, rows: Sequence[RowMapping], which: Subquery
) -> dict[tuple[int, int], dict[str, int]]:
    """Return, by batch and customer, how many images there are by the state of the request that decides."""
    of_image = asked(which, UNFINISHED, ENDED_OTHERWISE)
    query = (
        select(of_image.c.id, of_image.c.customer, requests.c.state, func.count().label("images"))
        .join(requests, requests.c.id == of_image.c.request_id)
        .group_by(of_image.c.id, of_image.c.customer, requests.c.state)
    )
    states: dict[tuple[int, int], dict[str, int]] = {}
    for row in connection.execute(query):
        states.setdefault((row.id, row.customer), {})[row.state] = row.images
    for batch in rows:
        of_batch = states.setdefault((batch["id"], batch["customer"]), {})
        done = batch["images"] - sum(of_batch.values())
        of_batch[RequestState.DONE] = of_batch.get(RequestState.DONE, 0) + done
    return states


def refused_messages(which: Subquery) -> Select[Any]:
    """Select the rejected messages of batches, but for those whose image another message of the batch asked for."""
    asked_for = exists().where(
        requests.c.image_id == messages.c.image_id,
        requests.c.batch + 0 == messages.c.batch,  # as in `asked`
        requests.c.customer == messages.c.customer,
    )
    return (
        select(messages)
        .join(which, and_(messages.c.batch == which.c.id, messages.c.customer == which.c.customer))
        .where(REFUSED, ~asked_for)
    )


def _is_superseded(connection: Connection, batch_id: int, customer: int) -> bool:
    """Look for one image that no later batch asked for: mostly it is the first."""
    own, later = requests.alias("own"), requests.alias("later")
    asked_later = exists().where(
        later.c.image_id == own.c.image_id,
        later.c.batch.is_not(None),
        later.c.batch != batch_id,
        later.c.id > own.c.id,
    )
    only_here = select(own.c.id).where(own.c.batch == batch_id, own.c.customer == customer, ~asked_later)
    refused = refused_messages(select(batches).where(which_is(batch_id, customer)).subquery())
    found = (connection.execute(query.limit(1)).first() for query in (only_here, refused))
    return not any(found)


def which_is(batch_id: int, customer: int) -> ColumnElement[bool]:
    """Return the condition for one batch: its number is the customer's own."""
    return and_(batches.c.id == batch_id, batches.c.customer == customer)
