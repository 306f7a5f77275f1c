"""The states of a request, as a table: which event leads from which state to which, who causes it, what else happens.

The ledger's one writer of states (`dlcs_assets.ledger.transitions`) works by this table, and docs/request-states.md is
made from it. Below it: the sets of states that others ask for, derived from the table; and the states of a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.errors import IngestError, RunLostError, ServiceDownError, TransientError


class RequestState(StrEnum):
    """Where a request is."""

    WAITING = "waiting"  # names an image that is not registered yet
    PENDING = "pending"
    RESERVED = "reserved"  # given to a chunk whose run has not claimed it yet
    RUNNING = "running"
    DONE = "done"
    NOT_RENEWED = "not_renewed"  # done, as before: its origin could not be read again
    FAILED = "failed"
    REJECTED = "rejected"
    DELETED = "deleted"  # of a request to delete the image
    SUPERSEDED = "superseded"  # a newer request took its place
    CANCELLED = "cancelled"  # withdrawn: the image is what it was before


class Event(StrEnum):
    """What changes the state of a request."""

    REQUESTED = "requested"
    REQUESTED_UNREGISTERED = "requested unregistered"
    LAUNCHED_BY_HAND = "launched by hand"
    FOUND = "found"
    FOUND_INCOMPLETE = "found incomplete"
    REGISTERED = "registered"
    REGISTRATION_OVERDUE = "registration overdue"
    RESERVED = "reserved"
    CLAIMED = "claimed"
    RETURNED = "returned"
    SUCCEEDED = "succeeded"
    DELETED = "deleted"
    NOT_RENEWED = "not renewed"
    FAILED_PERMANENTLY = "failed permanently"
    FAILED_TRANSIENTLY = "failed transiently"
    ATTEMPTS_EXHAUSTED = "attempts exhausted"
    SERVICE_DOWN = "service down"
    RUN_LOST = "run lost"
    NOT_BEGUN = "not begun"
    ENDED_UNWRITTEN = "ended unwritten"
    WRITTEN = "written"
    FAILURE_WRITTEN = "failure written"
    CHANGED = "changed meanwhile"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    SUPERSEDED = "superseded"
    IMAGE_DELETED = "image deleted"
    DELETION_REPEATED = "deletion repeated"
    REGISTERED_AGAIN = "registered again"


@dataclass(frozen=True, slots=True)
class Transition:
    """What an event does to a request that is in one of the states `before`; before a request is made there is none.

    `attempts`: whether the attempt is counted ("+1"), or the count begins again ("0"). `retry_lane`: it moves to the
    lane `retry`, unless its lane is one that a request never leaves. `due`, `chunk`, `error` and `finished`: what
    becomes of the time when it is due, its chunk, the reason of its last failure and the time of its end: "set",
    "cleared" or "kept".
    """

    event: Event
    before: tuple[RequestState, ...]
    after: RequestState
    caused_by: str
    attempts: str
    retry_lane: bool
    due: str
    chunk: str
    error: str
    finished: str


# A request to delete an image is a request like others, in the lane `delete`. "run" is a run that holds the request;
# a run that was killed cannot say so, and `reconcile` does it instead. -: it stays as it is.
_TABLE: Final = """
event                  | from                       | to         | caused by                | attempts | lane  | due | chunk   | error   | finished
requested              | -                          | pending    | intake, operator         | -        | -     | set | -       | -       | -
requested unregistered | -                          | waiting    | intake                   | -        | -     | set | -       | -       | -
launched by hand       | -                          | reserved   | run                      | -        | -     | set | -       | -       | -
found                  | -                          | done       | operator                 | -        | -     | set | -       | cleared | set
found incomplete       | -                          | failed     | operator                 | -        | -     | set | -       | set     | set
registered             | waiting                    | pending    | intake                   | -        | -     | set | -       | -       | -
registration overdue   | waiting                    | rejected   | reconcile                | -        | -     | -   | -       | set     | set
reserved               | pending                    | reserved   | dispatch                 | -        | -     | -   | set     | -       | -
claimed                | reserved                   | running    | run                      | -        | -     | -   | -       | -       | -
returned               | reserved                   | pending    | run, reconcile           | -        | retry | set | cleared | -       | -
succeeded              | running                    | done       | run                      | +1       | -     | -   | cleared | cleared | set
deleted                | running                    | deleted    | run                      | +1       | -     | -   | cleared | cleared | set
not renewed            | running                    | not_renewed | run                     | +1       | -     | -   | cleared | set     | set
failed permanently     | running                    | failed     | run                      | +1       | -     | -   | cleared | set     | set
failed transiently     | running                    | pending    | run, reconcile           | +1       | retry | set | cleared | set     | -
attempts exhausted     | running                    | failed     | run, reconcile           | +1       | -     | -   | cleared | set     | set
service down           | running                    | pending    | run                      | -        | retry | set | cleared | set     | -
run lost               | running                    | pending    | run, reconcile           | -        | retry | set | cleared | set     | -
not begun              | running                    | pending    | run, reconcile, operator | -        | retry | set | cleared | -       | -
ended unwritten        | running                    | pending    | run                      | -        | -     | set | cleared | set     | -
written                | pending                    | done       | reconcile                | +1       | -     | -   | -       | cleared | set
failure written        | pending                    | failed     | reconcile                | +1       | -     | -   | -       | set     | set
changed meanwhile      | running, pending           | pending    | run, reconcile           | 0        | retry | set | cleared | cleared | -
cancelled              | pending                    | cancelled  | operator                 | -        | -     | -   | -       | set     | set
retried                | failed                     | pending    | operator                 | 0        | -     | set | -       | cleared | cleared
superseded             | waiting, pending           | superseded | intake, operator, run    | -        | -     | -   | -       | -       | set
image deleted          | waiting, pending, reserved | failed     | intake, operator, run    | -        | -     | -   | cleared | set     | set
deletion repeated      | pending, reserved, failed  | superseded | intake, operator, run    | -        | -     | -   | cleared | -       | set
registered again       | pending, reserved, failed, deleted | superseded | intake, run              | -        | -     | -   | cleared | -       | set
"""  # noqa: E501 (a table is read by its columns)

MEANINGS: Final[Mapping[Event, str]] = {
    Event.REQUESTED: "A message, an operator or reprocessing requests a registered image, or its deletion.",
    Event.REQUESTED_UNREGISTERED: "A message names an image by its id only, and the image is not registered (yet).",
    Event.LAUNCHED_BY_HAND: "A user launched a run for the image in Dagster. The run claims it at once.",
    Event.FOUND: "`dlcs ledger rebuild` finds the image in S3, made by runs of which nothing is on record.",
    Event.FOUND_INCOMPLETE: "The same, but a part of the image is missing there.",
    Event.REGISTERED: "A full message registers the image.",
    Event.REGISTRATION_OVERDUE: "No message registered the image in time.",
    Event.RESERVED: "The request becomes part of a chunk, for which a run is launched.",
    Event.CLAIMED: "The run holds the image from now on: no other run works on it.",
    Event.RETURNED: "The run ended before it claimed the image, or another run holds the image.",
    Event.SUCCEEDED: "All stages of the request ended well.",
    Event.DELETED: "Everything of the image is deleted.",
    Event.NOT_RENEWED: (
        "A person asked for an image that was done, and its origin cannot be read again. What is stored is what the "
        "registration asks for: it stays, with a warning."
    ),
    Event.FAILED_PERMANENTLY: "Trying again would give the same result.",
    Event.FAILED_TRANSIENTLY: (
        "Trying again may help, and attempts are left. A run that was killed counts as this if it worked on this image "
        "only."
    ),
    Event.ATTEMPTS_EXHAUSTED: "The same, but it was the last attempt.",
    Event.SERVICE_DOWN: "A service does not answer at all. The image waits, without losing an attempt.",
    Event.RUN_LOST: (
        "The run was killed while it worked on this image and others, or a person ended it. No image is known to be "
        "the cause, and none loses an attempt. After the second time the image has a run of its own."
    ),
    Event.NOT_BEGUN: "The run ended, or lost its ledger, before it began this image.",
    Event.ENDED_UNWRITTEN: (
        "The attempt is over, well or not, and the DLCS's database does not have it yet. What was made stays, and no "
        "run takes the image up."
    ),
    Event.WRITTEN: "The DLCS's database has it: the image is done.",
    Event.FAILURE_WRITTEN: "The DLCS's database has it: the image has failed.",
    Event.CHANGED: "The DLCS says something else of the image than it was made by. A new request makes it again.",
    Event.CANCELLED: (
        "A person terminated the run: what it did not finish is withdrawn, and not started again. Deletions are not. "
        "Or a person cancelled the backfill while the request waited."
    ),
    Event.RETRIED: "`dlcs retry` for a deletion that failed. (Other images get a new request.)",
    Event.SUPERSEDED: "A newer request for the image includes what this one asks for.",
    Event.IMAGE_DELETED: "The image is to be deleted. An attempt in progress comes to its end first.",
    Event.DELETION_REPEATED: "A newer request to delete the image takes the place of this one.",
    Event.REGISTERED_AGAIN: (
        "A full message registers the image again. A deletion that runs already comes to the end of its attempt first; "
        "no other takes place, and none is retried."
    ),
}


def _read_table() -> dict[Event, Transition]:
    found = {}
    for line in _TABLE.strip().splitlines()[1:]:
        event, before, after, caused_by, attempts, lane, due, chunk, error, finished = (
            "kept" if cell.strip() == "-" else cell.strip() for cell in line.split("|")
        )
        found[Event(event)] = Transition(
            event=Event(event),
            before=() if before == "kept" else tuple(RequestState(state.strip()) for state in before.split(",")),
            after=RequestState(after),
            caused_by=caused_by,
            attempts=attempts,
            retry_lane=lane == "retry",
            due=due,
            chunk=chunk,
            error=error,
            finished=finished,
        )
    return found


TRANSITIONS: Final[Mapping[Event, Transition]] = _read_table()


def _states_after(*, finished: str = "set", error: str | None = None) -> tuple[RequestState, ...]:
    chosen = {each.after for each in TRANSITIONS.values() if each.finished == finished and error in {None, each.error}}
    return tuple(state for state in RequestState if state in chosen)


ENDED: Final = _states_after()
SUCCESSFUL: Final = _states_after(error="cleared")
UNSUCCESSFUL: Final = tuple(
    state for state in _states_after(error="set") if state is not TRANSITIONS[Event.NOT_RENEWED].after
)
# Of an image that has another one, such a request does not decide about its state.
WITHOUT_EFFECT: Final = (TRANSITIONS[Event.SUPERSEDED].after, TRANSITIONS[Event.CANCELLED].after)
UNFINISHED: Final = tuple(state for state in RequestState if state not in ENDED)
# How often a run may die that worked on an image and others, until that image has a run of its own.
LOSSES_AMONG_OTHERS: Final = 2
# In a chunk, or held by a run: no other run is to be launched for the image.
TAKEN: Final = (TRANSITIONS[Event.RESERVED].after, TRANSITIONS[Event.CLAIMED].after)


class ShownState(StrEnum):
    """Where an image is, in the words that users see."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REJECTED = "rejected"
    DELETED = "deleted"


# A superseded request is never shown: the one that took its place is.
SHOWN_STATES: Final[Mapping[str, ShownState]] = {
    RequestState.WAITING: ShownState.PENDING,
    RequestState.PENDING: ShownState.PENDING,
    RequestState.RESERVED: ShownState.PENDING,
    RequestState.RUNNING: ShownState.RUNNING,
    RequestState.DONE: ShownState.DONE,
    RequestState.NOT_RENEWED: ShownState.DONE,
    RequestState.CANCELLED: ShownState.CANCELLED,
    RequestState.FAILED: ShownState.FAILED,
    RequestState.REJECTED: ShownState.REJECTED,
    RequestState.DELETED: ShownState.DELETED,
}
# Of images that are shown as done.
SHOWN_AS_DONE: Final = tuple(state for state in RequestState if SHOWN_STATES.get(state) is ShownState.DONE)
# Those of images that have ended, well or not.
SHOWN_SUCCESSFUL: Final = tuple(SHOWN_STATES[state] for state in SUCCESSFUL)
SHOWN_ENDED: Final = (*SHOWN_SUCCESSFUL, *(SHOWN_STATES[state] for state in UNSUCCESSFUL))


def end_of_attempt(
    error: IngestError | None,
    *,
    attempts: int,
    max_attempts: int,
    success: Event = Event.SUCCEEDED,
    stays: bool = False,
) -> Event:
    """Return the event with which an attempt ends, after `attempts` earlier ones of at most `max_attempts`.

    `stays`: where it would fail, what was there before is right still.
    """
    if error is None:
        return success
    if isinstance(error, ServiceDownError):
        return Event.SERVICE_DOWN
    if isinstance(error, RunLostError):
        return Event.RUN_LOST
    if isinstance(error, TransientError) and attempts + 1 < max_attempts:
        return Event.FAILED_TRANSIENTLY
    if stays:
        return Event.NOT_RENEWED
    return Event.ATTEMPTS_EXHAUSTED if isinstance(error, TransientError) else Event.FAILED_PERMANENTLY


class MessageState(StrEnum):
    """What became of a message."""

    ACCEPTED = "accepted"  # it has a request
    WAITING = "waiting"  # so does its request, for the registration of the image
    REJECTED = "rejected"  # kept with its reason
    FORWARDED = "forwarded"  # of another system's customer
    IGNORED = "ignored"  # it says nothing new
    REQUEUED = "requeued"  # it was rejected, and then sent to its queue again


UNSETTLED_MESSAGES: Final = (MessageState.WAITING, MessageState.REJECTED)  # whose bodies are kept
SETTLED_MESSAGES: Final = tuple(state for state in MessageState if state not in UNSETTLED_MESSAGES)
