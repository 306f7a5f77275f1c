"""Writes docs/request-states.md from the table of states: python -m dlcs_assets_tests.domain.request_states_page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dlcs_assets.domain.request_states import (
    ENDED,
    MEANINGS,
    SHOWN_STATES,
    TRANSITIONS,
    Event,
    MessageState,
    RequestState,
    Transition,
)

PAGE = Path(__file__).parents[2] / "docs" / "request-states.md"

_STATES = {
    RequestState.WAITING: "names an image that is not registered yet",
    RequestState.PENDING: "is due, or will be: at the time `due_at`",
    RequestState.RESERVED: "is in a chunk, whose run has not claimed it yet",
    RequestState.RUNNING: "is held by a run",
    RequestState.DONE: "all stages ended well",
    RequestState.NOT_RENEWED: "could not be made again: its origin cannot be read; what is stored is right, and stays",
    RequestState.FAILED: "failed, with code, cause and remedy",
    RequestState.REJECTED: "its image was never registered",
    RequestState.DELETED: "the image is deleted; only of a request for that",
    RequestState.SUPERSEDED: "a newer request took its place; the image has that one's state",
    RequestState.CANCELLED: "was withdrawn by a person; the image has the state that it had before, if it had any",
}
_MESSAGES = {
    MessageState.ACCEPTED: "it led to a request",
    MessageState.WAITING: "its request waits for the registration of the image",
    MessageState.REJECTED: "it cannot be used: kept with its body and the reason, see `dlcs rejected`",
    MessageState.FORWARDED: "it is about a customer of another system, and was sent on",
    MessageState.IGNORED: "it says nothing new, or something outdated",
    MessageState.REQUEUED: "it was rejected, and then sent to its queue again",
}


def page() -> str:
    """Return the page."""
    return "\n".join([*_lines(), ""])


def _lines() -> Iterator[str]:
    yield "# The states of a request"
    yield ""
    yield "A request is one order to ingest an image, or to delete it. The rules are a table in"
    yield "[`dlcs_assets/domain/request_states.py`](../dlcs_assets/domain/request_states.py), by which the ledger's one"
    yield "writer of states works ([0030](decisions/0030-request-states.md)). This page is made from that table, by"
    yield "`python -m dlcs_assets_tests.domain.request_states_page`."
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    arrows: dict[tuple[str, str], list[str]] = {}
    for each in TRANSITIONS.values():
        for before in each.before or ("[*]",):
            arrows.setdefault((before, each.after), []).append(each.event)
    for (before, after), events in arrows.items():
        yield f"    {before} --> {after}: {', '.join(events)}"
    for state in ENDED:
        yield f"    {state} --> [*]"
    yield "```"
    yield ""
    yield "## States"
    yield ""
    yield "| state | a request in it | has ended | shown as |"
    yield "| --- | --- | --- | --- |"
    for state in RequestState:
        yield f"| `{state}` | {_STATES[state]} | {'yes' if state in ENDED else 'no'} | {SHOWN_STATES.get(state, '-')} |"
    yield ""
    yield "A request that has ended has the time of its end (`finished_at`), and no other has. Only a `reserved` or"
    yield "`running` request is in a chunk. The state of an image is that of its unfinished request, or of its newest"
    yield "that was neither superseded nor cancelled; of an image that has none, of the newest that was cancelled."
    yield ""
    yield "## Events"
    yield ""
    yield "| event | what happened | from | to | caused by | what else changes |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for event in Event:
        each = TRANSITIONS[event]
        before = ", ".join(f"`{state}`" for state in each.before) or "(new)"
        yield f"| {event} | {MEANINGS[event]} | {before} | `{each.after}` | {each.caused_by} | {_effects(each)} |"
    yield ""
    yield "A request that returns to `pending` moves to the lane `retry`, unless its lane is `backfill` or `delete`."
    yield ""
    yield "## Messages"
    yield ""
    yield "A message has a state of its own, which says what became of it."
    yield ""
    yield "| state | meaning |"
    yield "| --- | --- |"
    for state_of_message in MessageState:
        yield f"| `{state_of_message}` | {_MESSAGES[state_of_message]} |"


def _effects(each: Transition) -> str:
    attempts = {"+1": "the attempt is counted", "0": "attempts are counted from 0 again", "kept": ""}
    named = {"due time": each.due, "chunk": each.chunk, "error": each.error, "end": each.finished}
    effects = [
        attempts[each.attempts],
        "lane `retry`" if each.retry_lane else "",
        *(f"{name} {effect}" for name, effect in named.items() if effect != "kept"),
    ]
    return ", ".join(filter(None, effects))


if __name__ == "__main__":
    PAGE.write_text(page())
