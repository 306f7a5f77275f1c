"""Whose turn it is: how the places of a lane are shared between the customers that have something due in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.records import Chunk

# What is urgent waits for no customer's other work, nor counts as such.
WITHOUT_CUSTOMER_LIMIT = frozenset({Lane.PRIORITY, Lane.DELETE})
# Where the number of runs is a promise to the other lanes, which as many customers as there may be must not break.
STRICT = frozenset({Lane.BACKFILL})


@dataclass(frozen=True, slots=True)
class Allotment:
    """A customer that may have up to `most` new chunks; `first`: it has none in flight in the lane."""

    customer: int
    most: int
    first: bool


@dataclass(frozen=True, slots=True)
class Allotments:
    """Who may have new chunks in a lane, in this order.

    `room` is how many there may be, `for_first` (no less) how many while they are some customers' first. `at_limit`
    are customers that wait for their other runs to end.
    """

    order: tuple[Allotment, ...]
    room: int
    for_first: int
    at_limit: tuple[int, ...]


def allot(
    lane: Lane,
    due: Sequence[int],
    in_flight: Mapping[tuple[Lane, int], int],
    *,
    most_in_lane: int,
    limit_of: Callable[[int], int | None],
) -> Allotments:
    """Give each customer of `due` its turn, those with the least in flight first, else in the order given.

    `in_flight` counts chunks that have not ended. A lane that is full is not full for a customer that has nothing in
    it, unless so many came that way that there are twice as many chunks as there should be.
    """
    here = Counter({customer: count for (where, customer), count in in_flight.items() if where is lane})
    everywhere: Counter[int] = Counter()
    for (where, customer), count in in_flight.items():
        if where not in WITHOUT_CUSTOMER_LIMIT:
            everywhere[customer] += count

    def left(customer: int) -> int | None:
        limit = None if lane in WITHOUT_CUSTOMER_LIMIT else limit_of(customer)
        return None if limit is None else max(limit - everywhere[customer], 0)

    may = sorted((customer for customer in due if left(customer) != 0), key=lambda customer: here[customer])
    room = max(most_in_lane - here.total(), 0)
    beyond = 0 if lane in STRICT else 2 * most_in_lane - here.total()
    for_first = max(room, min(beyond, sum(not here[customer] for customer in may)))
    share = -(-for_first // max(min(for_first, len(may)), 1))  # what a customer does not use is another's next time
    allotments = (
        Allotment(customer, share if (own := left(customer)) is None else min(share, own), not here[customer])
        for customer in may
        if room or not here[customer]
    )
    at_limit = tuple(sorted(customer for customer in due if left(customer) == 0))
    return Allotments(tuple(allotments) if for_first else (), room, for_first, at_limit)


def allocate(allotments: Allotments, offer: Callable[[Allotment], Sequence[Chunk]]) -> list[Chunk]:
    """Choose chunks in rounds, one of each customer in a round. `offer` is asked for no more customers than needed."""
    offers: list[tuple[Allotment, Sequence[Chunk]]] = []
    for turn in allotments.order:
        if len(offers) >= allotments.for_first:
            break
        if chunks := offer(turn):
            offers.append((turn, chunks[: turn.most]))
    dealt: list[Chunk] = []
    for number, round_ in enumerate(zip_longest(*(chunks for _, chunks in offers))):
        for (turn, _), chunk in zip(offers, round_, strict=True):
            places = allotments.for_first if turn.first and number == 0 else allotments.room
            if chunk is not None and len(dealt) < places:
                dealt.append(chunk)
    return dealt
