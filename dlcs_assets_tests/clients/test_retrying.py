from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from dlcs_assets.clients.retrying import MAX_RETRY_AFTER, Retrying, parse_retry_after
from dlcs_assets.domain.errors import PermanentError, ServiceDownError, TransientError


def transient(retry_after: timedelta | None = None) -> TransientError:
    return TransientError("busy", "It is busy", remedy="Wait.", retry_after=retry_after)


class FailsFirst:
    """Raises the errors one after the other, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def quick(attempts: int = 3, budget_seconds: float = 10.0) -> Retrying:
    return Retrying(attempts, budget_seconds, first_delay_seconds=0.001, longest_delay_seconds=0.01)


def test_a_passing_trouble_is_overcome() -> None:
    work = FailsFirst(transient(), ServiceDownError("down", "It is down", remedy="Start it."))
    assert quick().call(work) == "done"
    assert work.calls == 3


def test_a_permanent_error_is_not_repeated() -> None:
    error = PermanentError("gone", "It is gone", remedy="Bring it back.")
    work = FailsFirst(error)
    with pytest.raises(PermanentError) as caught:
        quick().call(work)
    assert caught.value is error
    assert work.calls == 1


def test_a_fault_of_the_program_is_not_repeated() -> None:
    work = FailsFirst(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        quick().call(work)
    assert work.calls == 1


def test_after_the_last_attempt_its_own_error_is_raised() -> None:
    last = transient()
    work = FailsFirst(transient(), transient(), last)
    with pytest.raises(TransientError) as caught:
        quick().call(work)
    assert caught.value is last
    assert work.calls == 3


def test_the_time_of_retry_after_is_waited() -> None:
    began = time.monotonic()
    assert quick().call(FailsFirst(transient(timedelta(seconds=0.2)))) == "done"
    assert time.monotonic() - began >= 0.2


def test_a_pause_beyond_the_budget_is_not_started() -> None:
    """A service that asks for an hour must not hold a worker for an hour: the ledger retries later."""
    work = FailsFirst(transient(timedelta(hours=1)))
    began = time.monotonic()
    with pytest.raises(TransientError):
        quick(budget_seconds=5).call(work)
    assert work.calls == 1
    assert time.monotonic() - began < 2


def test_pauses_grow_and_differ() -> None:
    retrying = Retrying(9, 100, first_delay_seconds=1, longest_delay_seconds=5)

    class State:
        def __init__(self, number: int) -> None:
            self.attempt_number = number
            self.outcome = None

    def longest(number: int) -> float:
        return max(retrying._pause(State(number)) for _ in range(400))  # type: ignore[arg-type]  # what is read of it

    assert longest(1) <= 1 < longest(2) <= 2 < longest(3) <= 4 < longest(4) <= 5
    assert longest(60) <= 5
    assert len({retrying._pause(State(3)) for _ in range(50)}) > 40  # type: ignore[arg-type]  # as above


NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(seconds=120)),
        (" 7 ", timedelta(seconds=7)),
        ("99999999999999999999", MAX_RETRY_AFTER),
        ("Sun, 22 Nov 2026 10:01:00 GMT", timedelta(minutes=1)),
        ("Sun, 22 Nov 2026 09:00:00 GMT", timedelta(0)),
        ("Mon, 23 Nov 2026 10:00:00 GMT", MAX_RETRY_AFTER),
        ("Sun, 22 Nov 2026 10:01:00 -0000", timedelta(minutes=1)),
        ("", None),
        (None, None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_capped(header: str | None, expected: timedelta | None) -> None:
    assert parse_retry_after(header, now=NOW) == expected
