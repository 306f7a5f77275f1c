"""One figure, and how it is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Result:
    case: str
    metric: str
    value: float
    unit: str
    goal: float | None = None
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        spread = f"  ({min(self.values):.2f} to {max(self.values):.2f}, n={len(self.values)})" if self.values else ""
        goal = f"  goal {self.goal:g}" if self.goal is not None else ""
        return f"{self.case:12} {self.metric:40} {self.value:9.2f} {self.unit}{spread}{goal}"

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in {None, ()}}


def of_many(case: str, metric: str, values: list[float], unit: str, goal: float | None = None) -> Result:
    return Result(case, metric, round(median(values), 3), unit, goal, tuple(round(value, 3) for value in values))
