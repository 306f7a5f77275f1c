from __future__ import annotations

import pytest

from dlcs_assets.domain.errors import IngestError, PermanentError, RunLostError, ServiceDownError, TransientError
from dlcs_assets.domain.request_states import (
    ENDED,
    MEANINGS,
    SHOWN_STATES,
    SUCCESSFUL,
    TRANSITIONS,
    UNFINISHED,
    UNSUCCESSFUL,
    WITHOUT_EFFECT,
    Event,
    RequestState,
    end_of_attempt,
)
from dlcs_assets_tests.domain.request_states_page import PAGE, page

PERMANENT = PermanentError("odd", "It is odd", remedy="None")
TRANSIENT = TransientError("busy", "It is busy", remedy="Wait")
LOST = RunLostError("run_lost", "It died", remedy="Wait")
DOWN = ServiceDownError("down", "It is down", remedy="Start it")


def reachable(start: RequestState) -> set[RequestState]:
    found = {start}
    while new := {each.after for each in TRANSITIONS.values() if found & set(each.before)} - found:
        found |= new
    return found


def test_every_event_is_in_the_table_and_explained() -> None:
    assert set(TRANSITIONS) == set(MEANINGS) == set(Event)


def test_every_state_begins_somewhere_and_can_end() -> None:
    begins = {each.after for each in TRANSITIONS.values() if not each.before}
    assert set().union(*map(reachable, begins)) == set(RequestState)
    assert all(reachable(state) & set(ENDED) for state in RequestState)


def test_the_sets_of_states_are_those_that_the_table_says() -> None:
    assert set(UNFINISHED) == {RequestState.WAITING, RequestState.PENDING, RequestState.RESERVED, RequestState.RUNNING}
    assert set(SUCCESSFUL) == {RequestState.DONE, RequestState.DELETED}
    assert set(UNSUCCESSFUL) == {RequestState.FAILED, RequestState.REJECTED, RequestState.CANCELLED}
    assert set(WITHOUT_EFFECT) == {RequestState.SUPERSEDED, RequestState.CANCELLED}
    assert set(ENDED) == {*SUCCESSFUL, *UNSUCCESSFUL, RequestState.SUPERSEDED, RequestState.NOT_RENEWED}
    assert set(SHOWN_STATES) == set(RequestState) - {RequestState.SUPERSEDED}


@pytest.mark.parametrize("event", [event for event in Event if TRANSITIONS[event].before])
def test_chunk_and_end_follow_from_the_states(event: Event) -> None:
    """A request has an end exactly if it ended; whatever leaves a chunk has none."""
    each = TRANSITIONS[event]
    assert (each.after in ENDED) == (each.finished == "set")
    assert (set(each.before) <= set(ENDED)) == (each.finished == "cleared")
    in_chunk = {RequestState.RESERVED, RequestState.RUNNING}
    assert (bool(set(each.before) & in_chunk) and each.after not in in_chunk) == (each.chunk == "cleared")


@pytest.mark.parametrize(
    "event",
    [event for event in Event if RequestState.RUNNING in TRANSITIONS[event].before and event is not Event.NOT_BEGUN],
)
def test_an_attempt_that_ends_keeps_no_error_of_an_earlier_one(event: Event) -> None:
    assert TRANSITIONS[event].error in {"set", "cleared"}


@pytest.mark.parametrize(
    ("error", "attempts", "event"),
    [
        (None, 0, Event.SUCCEEDED),
        (None, 2, Event.SUCCEEDED),
        (PERMANENT, 0, Event.FAILED_PERMANENTLY),
        (TRANSIENT, 0, Event.FAILED_TRANSIENTLY),
        (TRANSIENT, 1, Event.FAILED_TRANSIENTLY),
        (TRANSIENT, 2, Event.ATTEMPTS_EXHAUSTED),
        (DOWN, 2, Event.SERVICE_DOWN),
        (LOST, 2, Event.RUN_LOST),
    ],
)
def test_an_attempt_ends_by_its_error(error: IngestError | None, attempts: int, event: Event) -> None:
    assert end_of_attempt(error, attempts=attempts, max_attempts=3) is event
    fails = event in {Event.FAILED_PERMANENTLY, Event.ATTEMPTS_EXHAUSTED}
    renewed = end_of_attempt(error, attempts=attempts, max_attempts=3, stays=True)
    assert renewed is (Event.NOT_RENEWED if fails else event)


def test_the_page_is_made_from_the_table() -> None:
    """If this fails: python -m dlcs_assets_tests.domain.request_states_page."""
    assert PAGE.read_text() == page()
