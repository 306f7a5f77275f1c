"""How near the system is to what the services alone take, and what it adds where they take nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.instant_backlog import measure_backlog
from bench.large_ledger import measure_large_ledger
from bench.latency import measure_latency
from bench.ledger_alone import measure_ledger_alone
from bench.ratios import measure_ratios
from bench.result import Result
from bench.system import RunningSystem


def measure(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Measure in systems of its own."""
    yield from measure_backlog(quick=quick)
    yield from measure_ledger_alone(quick=quick)
    yield from measure_ratios(pages, quick=quick)
    yield from measure_latency(pages, quick=quick)
    yield from measure_large_ledger(quick=quick)
