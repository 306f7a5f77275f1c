"""Pages through the whole system, against a bare loop that makes the same calls without Dagster and ledger."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import bare_loop
from bench.memory import large_page
from bench.result import Result, of_many
from bench.rows import (
    ROW_1,
    ROW_1_LARGE,
    ROW_4,
    ROW_5,
    ROW_8,
    Library,
    Row,
    as_jp2,
    library,
    make_shelf,
    write_customers,
)
from bench.system import RunningSystem, running

GOAL = 1.1
LARGE_GOAL = 1.03
CUSTOMERS = range(100, 200)


@dataclass(frozen=True)
class Comparison:
    """So many images of a row, so often, in chunks of a size."""

    row: Row
    chunk: int
    count: int
    rounds: int
    goal: float | None = None


COMPARISONS = (
    Comparison(ROW_1, 50, 50, 5, GOAL),
    Comparison(ROW_4, 50, 50, 5, GOAL),
    Comparison(ROW_5, 50, 50, 5, GOAL),
    Comparison(ROW_8, 50, 50, 5, GOAL),
    Comparison(ROW_1_LARGE, 50, 12, 3, LARGE_GOAL),
    Comparison(ROW_1, 1, 8, 3),
    Comparison(ROW_1, 10, 20, 3),
    Comparison(ROW_5, 200, 200, 3),
)
QUICK = (Comparison(ROW_1, 50, 8, 1, GOAL), Comparison(ROW_4, 50, 8, 1, GOAL), Comparison(ROW_8, 50, 8, 1, GOAL))


def measure(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Let system and bare loop take turns, in systems of its own: what else the machine does meets both.

    While the bare loop runs, the system does not tick.
    """
    comparisons = QUICK if quick else COMPARISONS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"pages": pages, "jp2": [as_jp2(page, folder / f"{number}.jp2") for number, page in enumerate(pages)]}
        if any(each.row is ROW_1_LARGE for each in comparisons):
            files["large"] = [large_page(folder)]
        customers = folder / "dlcs.yaml"
        write_customers(customers, CUSTOMERS)
        with library(files) as origins:
            for chunk in dict.fromkeys(each.chunk for each in comparisons):
                settings = {"DLCS_CHUNK_SIZE": str(chunk), "DLCS_CUSTOMERS_FILE": str(customers)}
                with running(settings) as system:
                    make_shelf(system)
                    numbers = iter(CUSTOMERS)
                    for each in comparisons:
                        if each.chunk == chunk:
                            yield from _compared(system, each, origins, numbers)


def _compared(
    system: RunningSystem, comparison: Comparison, origins: Library, customers: Iterator[int]
) -> Iterator[Result]:
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(comparison.rounds):
        customer = next(customers)
        messages = origins.messages(system, comparison.row, comparison.count, customer)
        began = time.monotonic()
        system.send_messages(messages)
        system.wait(customer, comparison.count)
        ours.append(time.monotonic() - began)
        customer = next(customers)
        messages = origins.messages(system, comparison.row, comparison.count, customer)
        with system.without_ticks():
            began = time.monotonic()
            bare_loop.ingest(system, messages, f"bare-{customer}")
            bare.append(time.monotonic() - began)
    what = f"{comparison.row.name}_{comparison.count}_images_chunk_{comparison.chunk}"
    yield of_many("throughput", f"seconds_{what}", ours, "s")
    yield of_many("throughput", f"seconds_bare_loop_{what}", bare, "s")
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    yield of_many("throughput", f"ratio_to_bare_loop_{what}", ratios, "x", comparison.goal)
