"""Fair share: how the runs of a lane are divided between the customers that have something due in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.records import Chunk

# What is urgent does not wait for a customer's other runs, and does not count as one of them.
WITHOUT_CUSTOMER_LIMIT = frozenset({Lane.PRIORITY, Lane.DELETE})
# What a run costs by itself is shared by that many images, which are not worth dividing among more runs.
WORTH_A_RUN = 25
# However many customers wait, and whatever else becomes due meanwhile.
FEWEST_IN_CHUNK = 10
# Where the number of runs is a promise to the other lanes, however many customers there are.
STRICT = frozenset({Lane.BACKFILL})


@dataclass(frozen=True, slots=True)
class Allotment:
    """A customer may have up to `max_chunks` new chunks; `first`: it has none in flight in the lane."""

    customer: int
    max_chunks: int
    first: bool


@dataclass(frozen=True, slots=True)
class Allotments:
    """The customers that may have new chunks in a lane, in this order.

    `room` is how many chunks there may be, `for_first` (no less) how many as long as they are some customers' first.
    `at_limit` are customers that wait for their other runs to end.
    """

    order: tuple[Allotment, ...]
    room: int
    for_first: int
    at_limit: tuple[int, ...]

    def images_in_chunk(self, due: int, max_chunks: int, *, most: int) -> int:
        """Return how many images a customer's next chunks have, each, of so many that are due: `most`, or fewer.

        They are divided among the chunks that the customer may have now, one for each `WORTH_A_RUN`. If more customers
        wait than there are places, chunks are smaller in proportion: each customer's turn comes round as soon.
        """
        if len(self.order) > self.for_first:
            most = max(min(most, FEWEST_IN_CHUNK), most * self.for_first // len(self.order))
        chunks = min(max_chunks, max(1, -(-due // WORTH_A_RUN)))
        return min(most, max(FEWEST_IN_CHUNK, -(-due // chunks)))


def allot(
    lane: Lane,
    due: Sequence[int],
    in_flight: Mapping[tuple[Lane, int], int],
    *,
    max_in_lane: int,
    limit_of: Callable[[int], int | None],
) -> Allotments:
    """Return the share of each customer of `due`: those with the least in flight first, then in the order given.

    `in_flight` counts chunks that have not ended. A customer that has nothing in a full lane may have a chunk in it all
    the same, up to twice as many chunks as the lane should have.
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
    room = max(max_in_lane - here.total(), 0)
    beyond = 0 if lane in STRICT else 2 * max_in_lane - here.total()
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
    """Choose chunks in rounds, one of each customer in a round. `offer` is called for no more customers than needed."""
    offers: list[tuple[Allotment, Sequence[Chunk]]] = []
    for allotment in allotments.order:
        if len(offers) >= allotments.for_first:
            break
        if chunks := offer(allotment):
            offers.append((allotment, chunks[: allotment.max_chunks]))
    chosen: list[Chunk] = []
    for number, round_ in enumerate(zip_longest(*(chunks for _, chunks in offers))):
        for (allotment, _), chunk in zip(offers, round_, strict=True):
            limit = allotments.for_first if allotment.first and number == 0 else allotments.room
            if chunk is not None and len(chosen) < limit:
                chosen.append(chunk)
    return chosen
