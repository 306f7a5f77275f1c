"""Metrics in CloudWatch's embedded format: lines of a log from which CloudWatch makes metrics by itself.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from dlcs_assets.metrics.metric import Metric, Unit

_UNITS: Final = {Unit.COUNT: "Count", Unit.SECONDS: "Seconds", Unit.BYTES: "Bytes"}
_MOST_PER_LINE: Final = 100  # CloudWatch takes no more


def embedded(metrics: Sequence[Metric], *, namespace: str, now: datetime) -> Iterator[str]:
    """Yield a line for all metrics without a label, and one for each value of each label.

    A labelled metric has its greatest value without the label, too: for an alarm that does not list all customers.
    """
    plain = [(metric, max(metric.values.values(), default=0.0)) for metric in metrics if metric.values or metric.label]
    for start in range(0, len(plain), _MOST_PER_LINE):
        yield _line(plain[start : start + _MOST_PER_LINE], {}, namespace, now)
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
    told: dict[str, Any] = {"_aws": {"Timestamp": round(now.timestamp() * 1000), "CloudWatchMetrics": [directive]}}
    return json.dumps(told | labels | {name: number for name, (number, _) in values.items()})


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
