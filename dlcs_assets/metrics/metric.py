"""A metric: what is measured, and its values by label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """What a value counts; the last word of the metric's name, but for counts."""

    COUNT = ""
    SECONDS = "seconds"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge. `label` is what its values differ by, None where there is one value only, under ''."""

    name: str
    meaning: str
    unit: Unit
    label: str | None
    values: Mapping[str, float]
