"""A metric, and the two forms in which metrics are published.

OpenMetrics text is what Prometheus and its like read. CloudWatch's embedded format is lines of a log from which
CloudWatch makes metrics:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PREFIX: Final = "dlcs"
_MAX_PER_LINE: Final = 100  # CloudWatch takes no more


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


_UNITS: Final = {Unit.COUNT: "Count", Unit.SECONDS: "Seconds", Unit.BYTES: "Bytes"}  # CloudWatch's


def openmetrics(metrics: Iterable[Metric]) -> str:
    """Return metrics as OpenMetrics text, with its end mark."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 (not every process needs it)
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 (as above)
    from prometheus_client.openmetrics.exposition import generate_latest  # noqa: PLC0415 (as above)

    families = []
    for metric in metrics:
        labels = [metric.label] if metric.label else []
        family = GaugeMetricFamily(f"{PREFIX}_{metric.name}", metric.meaning, labels=labels, unit=metric.unit)
        for value, number in sorted(metric.values.items()):
            family.add_metric([value] if metric.label else [], number)
        families.append(family)
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]  # it has no annotations
    return text.decode()


class _Collected:
    """A collector, as a registry takes it."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """Return them."""
        return self._families


def embedded(metrics: Sequence[Metric], *, namespace: str, now: datetime) -> Iterator[str]:
    """Yield lines in CloudWatch's embedded format: one for all metrics without a label, one for each value of a label.

    A labelled metric has its greatest value without the label, too: for an alarm that does not list all customers.
    """
    plain = [(metric, max(metric.values.values(), default=0.0)) for metric in metrics if metric.values or metric.label]
    for start in range(0, len(plain), _MAX_PER_LINE):
        yield _line(plain[start : start + _MAX_PER_LINE], {}, namespace, now)
    by_label: dict[tuple[str, str], list[tuple[Metric, float]]] = {}
    for metric in metrics:
        for value, number in metric.values.items():
            if metric.label:
                by_label.setdefault((metric.label, value), []).append((metric, number))
    for (label, value), found in sorted(by_label.items(), key=lambda item: item[0]):
        yield _line(found, {_camel(label): value}, namespace, now)


def _line(found: Iterable[tuple[Metric, float]], labels: dict[str, str], namespace: str, now: datetime) -> str:
    values = {_camel(metric.name): (number, _UNITS[metric.unit]) for metric, number in found}
    directive: dict[str, Any] = {
        "Namespace": namespace,
        "Dimensions": [list(labels)],
        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
    }
    line: dict[str, Any] = {"_aws": {"Timestamp": round(now.timestamp() * 1000), "CloudWatchMetrics": [directive]}}
    return json.dumps(line | labels | {name: number for name, (number, _) in values.items()})


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
