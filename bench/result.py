"""One figure, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Result:
    """A figure of a case. `goal` is the most that it should be, or with `at_least` the least."""

    case: str
    metric: str
    value: float
    unit: str
    goal: float | None = None
    values: tuple[float, ...] = ()
    at_least: bool = False

    def __str__(self) -> str:
        spread = f"  ({min(self.values):.2f} to {max(self.values):.2f}, n={len(self.values)})" if self.values else ""
        goal = f"  goal {self.goal:g}" if self.goal is not None else ""
        return f"{self.case:14} {self.metric:48} {self.value:9.2f} {self.unit}{spread}{goal}"

    def to_json(self) -> dict[str, Any]:
        """Return the spread as its ends: the single values are of no use to a reader."""
        shown: dict[str, Any] = {"case": self.case, "metric": self.metric, "value": self.value, "unit": self.unit}
        if self.goal is not None:
            shown["goal"] = self.goal
        if self.at_least:
            shown["at_least"] = True
        if self.values:
            shown |= {"low": min(self.values), "high": max(self.values), "n": len(self.values)}
        return shown


def of_many(
    case: str, metric: str, values: Sequence[float], unit: str, goal: float | None = None, *, at_least: bool = False
) -> Result:
    """Return the median of several values."""
    rounded = tuple(round(value, 3) for value in values)
    return Result(case, metric, round(median(values), 3), unit, goal, rounded, at_least)


def percentile_95(values: Sequence[float]) -> float:
    """Return what 95 of 100 are not above."""
    return max(values) if len(values) < 2 else quantiles(values, n=20, method="inclusive")[-1]
