"""What a history is made of, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dlcs_assets_tests.crash.faults import Planned
from dlcs_assets_tests.crash.lives import Ending, Step

FIRST_CUSTOMER: Final = 10_000
REJECTED_IMAGE: Final = "wrong"
POISONOUS_IMAGE: Final = "poison"
FIRST_LIMITED_CUSTOMER: Final = 50_000

Violation = str


@dataclass
class History:
    """What a seed stands for, and what came of it. `unusable` are the codes for which messages are rejected."""

    seed: int
    planned: Sequence[Planned]
    steps: Sequence[Step]  # in the order in which they are taken
    endings: Mapping[str, Ending]  # by image
    in_batch: int  # images and unusable messages that name the batch
    unusable: Sequence[str] = ()
    afterwards: Planned | None = None  # a fault while what an operator did at the end is in progress
    poison: str | None = None  # an image that kills each run that works on it
    deleted_afterwards: Sequence[str] = ()  # images that are done, and then deleted at the command line
    struck: list[str] = field(default_factory=list)
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds, by what was still going on

    @property
    def customer(self) -> int:
        return FIRST_CUSTOMER + self.seed

    @property
    def limited_customer(self) -> int:
        """The customer whose quota does not have room for all of its images."""
        return FIRST_LIMITED_CUSTOMER + self.seed

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "planned": [str(each) for each in (*self.planned, *filter(None, [self.afterwards]))],
            "struck": self.struck,
            "steps": len(self.steps),
            "seconds": round(self.seconds, 1),
            "counts": dict(self.counts),
            "waits": {what: round(seconds) for what, seconds in self.waits.items()},
            "violations": self.violations,
        }
