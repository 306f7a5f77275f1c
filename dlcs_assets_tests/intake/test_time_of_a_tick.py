"""How long a tick takes messages in, on a clock that only the queue moves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from dlcs_assets.clients.sqs import MAX_BATCH_SIZE, QueueMessage, Queues
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.messages import IntakeSummary, read_message, take_in_as
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.records import InboxMessage
from dlcs_assets.settings import Settings

BODY = json.dumps({"asset": {"id": "2/1/page", "origin": "https://example.org/page.jpg"}})
WAIT = BUDGET = timedelta(seconds=4)


@dataclass(kw_only=True, eq=False)
class SlowQueue(Queues):
    """A queue that has messages from a moment on, and takes a number of seconds for each answer."""

    waiting: int
    from_moment: float = 0.0
    answer_seconds: float

    _now: float = field(default=0.0, init=False)
    _given: int = field(default=0, init=False)

    def clock(self) -> float:
        return self._now

    def receive(self, url: str, *, limit: int = MAX_BATCH_SIZE, wait_seconds: float = 0) -> list[QueueMessage]:  # noqa: ARG002
        self._now = max(self._now, min(self.from_moment, self._now + wait_seconds)) + self.answer_seconds
        count = min(limit, self.waiting - self._given) if self._now >= self.from_moment else 0
        self._given += count
        return [QueueMessage(str(self._given - number), BODY, "receipt", None) for number in range(count)]

    def delete(self, url: str, messages: Iterable[QueueMessage]) -> None:
        """It was not given permanently anyway."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        yield opened


def tick(queue: SlowQueue, ledger: Ledger, wait: timedelta) -> IntakeSummary:
    settings = Settings(customers=(2,), intake_budget=BUDGET)

    def read(message: QueueMessage) -> list[InboxMessage]:
        return read_message(message, "images", Lane.INGEST, settings)

    return take_in_as(read, queue, ledger, "images", settings, wait=wait, clock=queue.clock)


def test_messages_at_the_end_of_the_wait_are_taken_in_together(ledger: Ledger) -> None:
    queue = SlowQueue(waiting=50, from_moment=3.9, answer_seconds=0.2)
    assert tick(queue, ledger, WAIT).received == 50


def test_a_wait_for_nothing_ends(ledger: Ledger) -> None:
    queue = SlowQueue(waiting=50, from_moment=60, answer_seconds=0.2)
    assert tick(queue, ledger, WAIT).received == 0
    assert queue.clock() < 5


def test_a_tick_starts_nothing_that_would_end_after_its_time(ledger: Ledger) -> None:
    queue = SlowQueue(waiting=500, answer_seconds=1.5)
    assert tick(queue, ledger, timedelta(0)).received == 2 * MAX_BATCH_SIZE
    assert queue.clock() <= BUDGET.total_seconds()


def test_a_tick_takes_in_what_a_single_slow_answer_brings(ledger: Ledger) -> None:
    queue = SlowQueue(waiting=500, answer_seconds=60)
    assert tick(queue, ledger, timedelta(0)).received == MAX_BATCH_SIZE
