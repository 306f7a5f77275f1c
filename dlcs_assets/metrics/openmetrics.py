"""Metrics as OpenMetrics text, which Prometheus and its like read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from dlcs_assets.metrics.metric import Metric

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PREFIX: Final = "dlcs"


def openmetrics(metrics: Iterable[Metric]) -> str:
    """Return the text, with its end mark."""
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
    """What a registry asks for metrics."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """Return them."""
        return self._families
