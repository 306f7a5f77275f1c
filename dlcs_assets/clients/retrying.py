"""How often and how long a call to an outside service is repeated. What is worth repeating, the error tree says."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import tenacity

from dlcs_assets.domain.errors import ServiceDownError, TransientError, is_retryable

T = TypeVar("T")

MAX_RETRY_AFTER: Final = timedelta(hours=1)


class CircuitOpenError(ServiceDownError):
    """A service that was found down is skipped: it got no request, so there is nothing to repeat."""


class NotRepeatedError(Exception):
    """What failed with the error `last` is not worth another attempt now, whatever kind of error it is."""

    def __init__(self, last: Exception) -> None:
        super().__init__(str(last))
        self.last = last


@dataclass(frozen=True)
class Retrying:
    """Exponential back-off with full jitter, under a number of attempts and a budget of seconds.

    The budget is for all attempts and pauses together; an attempt is not cut short by it, a pause that would overrun
    it is not begun.
    """

    attempts: int
    budget_seconds: float
    first_delay_seconds: float
    longest_delay_seconds: float

    def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. Raises its last error, as it is."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_worth_repeating),
            stop=tenacity.stop_after_attempt(self.attempts) | tenacity.stop_before_delay(self.budget_seconds),
            wait=self._pause,
            reraise=True,
        )
        return retrying(work)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        # Spread out also after a Retry-After: all that got the same moment would come back at once.
        ceiling = min(self.longest_delay_seconds, self.first_delay_seconds * 2 ** (state.attempt_number - 1))
        jitter = random.uniform(0, ceiling)  # noqa: S311 (no secret depends on it)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientError) else None
        return jitter + (asked.total_seconds() if asked else 0)


def _is_worth_repeating(error: BaseException) -> bool:
    return is_retryable(error) and not isinstance(error, CircuitOpenError)


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """Read a `Retry-After` header, seconds or an HTTP date; at most an hour, None if absent or unreadable."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # A number too long for a timedelta is certainly above the cap.
        return timedelta(seconds=min(int(text[:9]), int(MAX_RETRY_AFTER.total_seconds())))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(timedelta(0), min(moment - (now or datetime.now(UTC)), MAX_RETRY_AFTER))
