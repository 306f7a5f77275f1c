"""A backfill: images that a person has made again, of one selection, and how far that is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dlcs_assets.domain.request_states import SHOWN_STATES, RequestState, ShownState

Words = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was selected, by whom, and where its images are. Each image counts once.

    `words` are those of the selection, as at the command line. `images`: how many were requested by now;
    `requested_at` is when all had been. `ended` has numbers of images by the state of their request.
    """

    id: int
    words: Words
    asked_by: str
    begun_at: datetime
    requested_at: datetime | None = None
    cancelled_at: datetime | None = None
    ended_at: datetime | None = None
    images: int = 0
    running: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How people name it."""
        return f"Backfill {self.id}"

    @property
    def selection(self) -> str:
        """The selection, as it is written at the command line."""
        return selection_text(self.words)

    @property
    def done(self) -> int:
        """Images that are done, those included that could not be made again and stay as they are."""
        return self._shown_as(ShownState.DONE)

    @property
    def failed(self) -> int:
        """Images that failed."""
        return self._shown_as(ShownState.FAILED) + self._shown_as(ShownState.REJECTED)

    @property
    def cancelled(self) -> int:
        """Images that were withdrawn."""
        return self._shown_as(ShownState.CANCELLED)

    @property
    def overtaken(self) -> int:
        """Images that a later backfill took over before their turn came."""
        return self.ended.get(RequestState.SUPERSEDED, 0)

    @property
    def unended(self) -> int:
        """Images that will end yet."""
        return self.images - sum(self.ended.values())

    @property
    def pending(self) -> int:
        """Images that no run works on yet."""
        return self.unended - self.running

    @property
    def percent(self) -> int:
        """How much of it has ended; 100 only if all has."""
        return 100 if not self.unended else (self.images - self.unended) * 100 // self.images

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will change any more by itself."""
        return not self.unended and (self.requested_at is not None or self.cancelled_at is not None)

    @property
    def standing(self) -> str:
        """Its progress, in a few words."""
        if self.cancelled_at:
            left = f": {self.unended} that runs hold, or that messages asked for, come to their end"
            return f"cancelled{left if self.unended else ''}"
        if self.ended_at or self.has_ended:
            return "finished"
        if self.requested_at is None:
            return f"being requested: should nothing be at it any more, dlcs backfills resume {self.id}"
        return "in progress"

    def time_left(self, ended: int, window: timedelta) -> timedelta | None:
        """Estimate how long the rest takes at the rate at which images ended in that time. None: unknown."""
        return window / ended * self.unended if ended and self.unended else None

    def __str__(self) -> str:
        """Return its balance."""
        parts = [f"{self.done} done", f"{self.failed} failed"]
        parts += [f"{self.cancelled} cancelled"] if self.cancelled else []
        parts += [f"{self.overtaken} taken over by later ones"] if self.overtaken else []
        running = f" ({self.running} of them running)" if self.running else ""
        images = "1 image" if self.images == 1 else f"{self.images} images"
        return f"{images} = {' + '.join(parts)} + {self.unended} pending{running}"

    def _shown_as(self, shown: ShownState) -> int:
        return sum(count for state, count in self.ended.items() if SHOWN_STATES.get(state) == shown)


def selection_text(words: Words) -> str:
    """Return the words of a selection as options of the command line."""
    options = []
    for name, value in words.items():
        option = f"--{name.replace('_', '-')}"
        options.append(option if value is True else f"{option} {shlex.quote(str(value))}")
    return " ".join(options)
