"""What is asked of each image in a history, when it is said and when it arrives, and how the image must end.

Messages arrive late, twice and in another order than they were said. What was said last holds, whenever it arrives.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.stages import Stage

PICTURES: Final = 3
IMG: Final = {"channel": "iiif-img", "policy": "default"}
ORIGINAL: Final = {"channel": "iiif-img", "policy": "use-original"}
THUMBS: Final = {"channel": "thumbs", "policy": "default"}
WIDE: Final = {"channel": "thumbs", "policy": "wide"}  # a policy that changes during a history
FILE: Final = {"channel": "file", "policy": "none"}
CHANNELS: Final = (
    (IMG, THUMBS),
    (ORIGINAL, THUMBS),
    (THUMBS,),
    (FILE,),
    (IMG, THUMBS, FILE),
    (IMG, WIDE),
)
# The longest that something said early takes to arrive. Faults begin within the same seconds.
LATEST_SECONDS: Final = 9.0
DELETED: Final = "deleted"
DONE: Final = "done"
FAILED: Final = "failed"


@dataclass(frozen=True)
class Case:
    """How an image is registered: the channels (an index), the picture, and where it is fetched from."""

    channels: int
    picture: int
    over_http: bool

    @property
    def is_missing(self) -> bool:
        """Whether there is nothing at the origin."""
        return self.picture >= PICTURES


@dataclass(frozen=True)
class Ending:
    """The state in which an image must end; how it is registered, if it is done; or the code of its failure."""

    state: str
    case: Case | None = None
    code: str | None = None


class Act(StrEnum):
    REGISTER = "a full message"
    NAME = "a message that only names the image"
    NOTIFY_DELETION = "a notification that the image was deleted"
    DELETE = "an operator deletes the image"
    RETRY = "an operator retries the image"
    REPROCESS = "an operator reprocesses stages of the image"
    SPOIL_CUSTOMERS = "an edit of the customers file that cannot be read"
    RESTORE_CUSTOMERS = "the customers file is right again"


@dataclass(frozen=True)
class Step:
    """Something that happens: `said` is the time it carries, `at` when it arrives, in seconds after the first."""

    act: Act
    at: float
    said: float
    asset_id: str | None = None
    case: Case | None = None
    in_batch: bool = False
    stages: frozenset[Stage] = frozenset()
    body: str | None = None  # of an unusable message


def draw_case(dice: random.Random) -> Case:
    return Case(dice.randrange(len(CHANNELS)), dice.randrange(PICTURES), over_http=dice.random() < 0.5)


# What is said about an image, one after another: r for a registration, d for a deletion, m for a registration with an
# origin where there is nothing. The number is how often, among all.
LIVES: Final[Mapping[str, int]] = {
    "r": 12,
    "rr": 6,
    "rrr": 1,
    "rd": 5,
    "rdr": 7,
    "rdrd": 2,
    "rdrdr": 2,
    "d": 1,
    "m": 2,
    "mr": 2,
    "rm": 1,
    "rdm": 1,
}


def draw_life(asset_id: str, dice: random.Random) -> tuple[list[Step], Ending]:
    """Draw what is said about an image; return it in the order in which it is said, with copies, and the ending."""
    letters = dice.choices(list(LIVES), weights=list(LIVES.values()))[0]
    steps: list[Step] = []
    said = 0.0
    for number, letter in enumerate(letters):
        steps.append(_step(asset_id, letter, said, dice, first=number == 0))
        said = round(said + dice.uniform(0.2, LATEST_SECONDS / len(letters)), 3)
    ending = _ending(steps[-1])
    if dice.random() < 0.3:  # in another order
        times = [step.at for step in steps]
        dice.shuffle(times)
        steps = [replace(step, at=at) for step, at in zip(steps, times, strict=True)]
    copies = [replace(step, at=dice.uniform(0, 1.3 * LATEST_SECONDS)) for step in steps if dice.random() < 0.25]
    return [*steps, *copies, *_operators(asset_id, letters, said, dice)], ending


def _step(asset_id: str, letter: str, said: float, dice: random.Random, *, first: bool) -> Step:
    if letter == "d":
        act = Act.DELETE if dice.random() < 0.3 else Act.NOTIFY_DELETION
        return Step(act, said, said, asset_id)
    case = draw_case(dice)
    if letter == "m":
        case = replace(case, channels=0, picture=PICTURES)
    return Step(Act.REGISTER, said, said, asset_id, case, in_batch=first)


def _ending(last: Step) -> Ending:
    if last.case is None:
        return Ending(DELETED)
    return Ending(FAILED, last.case, "origin_not_found") if last.case.is_missing else Ending(DONE, last.case)


def _operators(asset_id: str, letters: str, said: float, dice: random.Random) -> Iterator[Step]:
    """Draw what changes nothing in the end."""
    at = dice.uniform(0, 1.3 * LATEST_SECONDS)
    if dice.random() < 0.15:
        yield Step(Act.RETRY, at, said, asset_id)
    if "m" in letters:  # a stage that needs no original would be done, though the newest registration has none
        return
    if dice.random() < 0.1:
        stages = frozenset(dice.sample(list(Stage), k=dice.randint(1, len(Stage))))
        yield Step(Act.REPROCESS, at, said, asset_id, stages=stages)
    if "d" not in letters and dice.random() < 0.1:  # otherwise it would wait for a registration that does not come
        yield Step(Act.NAME, max(at, said), said, asset_id)


def spoiled_customers(dice: random.Random) -> Sequence[Step]:
    """Draw edits of the customers file, or none."""
    if dice.random() < 0.5:
        return ()
    at = dice.uniform(0, LATEST_SECONDS)
    return (Step(Act.SPOIL_CUSTOMERS, at, at), Step(Act.RESTORE_CUSTOMERS, at + dice.uniform(1, 4), at))
