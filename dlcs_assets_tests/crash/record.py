"""What a history is made of, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dlcs_assets_tests.crash.expected import Case
from dlcs_assets_tests.crash.faults import Planned

FIRST_CUSTOMER: Final = 10_000

Violation = str


@dataclass(frozen=True)
class Message:
    """What is sent, and what is to become of it: an image of the case, or an error of the code."""

    body: str
    asset_id: str | None  # None: it is rejected
    case: Case | None = None
    code: str | None = None


@dataclass
class History:
    """What a seed stands for, and what came of it."""

    seed: int
    planned: Sequence[Planned]
    messages: Sequence[Message]  # those of the missing originals and the bad messages included
    struck: list[str] = field(default_factory=list)
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds, by what was still going on

    @property
    def customer(self) -> int:
        return FIRST_CUSTOMER + self.seed

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "planned": [str(each) for each in self.planned],
            "struck": self.struck,
            "seconds": round(self.seconds, 1),
            "counts": dict(self.counts),
            "waits": {what: round(seconds) for what, seconds in self.waits.items()},
            "violations": self.violations,
        }
