"""When people get an alert: a condition begins to fail, or is over again. Each change is announced once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

ID_LENGTH: Final = 32


class AlertState(StrEnum):
    """Whether something is wrong, or no longer."""

    FAILING = "failing"
    OVER = "over"
    HAPPENED = "happened"  # and has no end, such as a run that failed


@dataclass(frozen=True, slots=True)
class Condition:
    """What is looked at again and again. `problem` is what is wrong now, for people; None: nothing is."""

    name: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Alert:
    """What is announced. `key` tells it from others of its name, and is the same when the same is found again."""

    name: str
    state: AlertState
    text: str
    since: datetime
    key: str

    def id_for(self, target: str) -> str:
        """Return the id of its notification to a target."""
        return hashlib.sha256(f"{target}\n{self.name}\n{self.state}\n{self.key}".encode()).hexdigest()[:ID_LENGTH]

    @property
    def attributes(self) -> Mapping[str, str]:
        """What subscribers of a topic can choose by."""
        return {"Alert": self.name, "State": self.state.value}

    def body(self, link: str | None) -> str:
        """Return it as JSON. Chats show `text`; the rest is for programs."""
        text = f"dlcs-assets: {self.text}" + (f" {link}" if link else "")
        said = {"text": text, "alert": self.name, "state": self.state.value, "since": self.since.isoformat()}
        return json.dumps(said | ({"link": link} if link else {}), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What was found last time, and when: since when each failing condition fails."""

    looked: datetime | None = None
    failing: Mapping[str, datetime] = field(default_factory=dict)


def changes(conditions: Iterable[Condition], known: Known, now: datetime) -> tuple[list[Alert], Known]:
    """Return what has changed since last time, and what is known now. If that is lost, all is announced again."""
    found, failing = [], {}
    key = (known.looked or now).isoformat()  # the same until what is known now was kept
    for condition in conditions:
        name, began = condition.name, known.failing.get(condition.name)
        if condition.problem is not None:
            failing[name] = began or now
            if began is None:
                found.append(Alert(name, AlertState.FAILING, f"{name} fails. {condition.problem}", now, key))
        elif began is not None:
            text = f"{name} passes again. It failed since {began:%Y-%m-%d %H:%M} UTC."
            found.append(Alert(name, AlertState.OVER, text, began, key))
    return found, Known(now, failing)
