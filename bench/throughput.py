"""Pages through the whole system, against a bare loop that makes the same calls without Dagster and ledger."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
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
)
OTHER_SIZES = (
    Comparison(ROW_1, 1, 3, 5),
    Comparison(ROW_1, 10, 10, 5),
    Comparison(ROW_5, 200, 200, 5),
)
LARGE = (Comparison(ROW_1_LARGE, 50, 50, 5, LARGE_GOAL),)
QUICK = (Comparison(ROW_1, 50, 5, 1, GOAL), Comparison(ROW_8, 50, 5, 1, GOAL))
QUICK_OTHER_SIZES = (Comparison(ROW_1, 10, 3, 1),)
QUICK_LARGE = (Comparison(ROW_1_LARGE, 50, 2, 1, LARGE_GOAL),)


def measure(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Compare chunks of fifty pages."""
    yield from _measured("throughput", QUICK if quick else COMPARISONS, pages)


def measure_sizes(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Compare chunks of other sizes."""
    yield from _measured("sizes", QUICK_OTHER_SIZES if quick else OTHER_SIZES, pages)


def measure_large(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Compare chunks of fifty large images, which take two minutes each."""
    yield from _measured("large", QUICK_LARGE if quick else LARGE, pages)


def _measured(case: str, comparisons: Sequence[Comparison], pages: list[Path]) -> Iterator[Result]:
    """Let system and bare loop take turns, in systems of its own: what else the machine does meets both.

    While the bare loop runs, the system does not tick.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kinds = {each.row.kind for each in comparisons}
        files = {"pages": pages}
        if "jp2" in kinds:
            files["jp2"] = [as_jp2(page, folder / f"{number}.jp2") for number, page in enumerate(pages)]
        if "large" in kinds:
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
                            yield from _compared(case, system, each, origins, numbers)


def _compared(
    case: str, system: RunningSystem, comparison: Comparison, origins: Library, customers: Iterator[int]
) -> Iterator[Result]:
    seconds: dict[bool, list[float]] = {True: [], False: []}
    # Bare loop or system: a b b a a b b a, so that sensors are switched off and on less often; where there is no goal,
    # once, with the bare loop in the middle.
    rounds = comparison.rounds
    turns = [turn for number in range(rounds) for turn in ((False, True), (True, False))[number % 2]]
    if comparison.goal is None:
        turns = [False] * (rounds // 2) + [True] * rounds + [False] * (rounds - rounds // 2)
    for bare, together in groupby(turns):
        with system.without_ticks() if bare else nullcontext():
            for _ in together:
                customer = next(customers)
                messages = origins.messages(system, comparison.row, comparison.count, customer)
                began = time.monotonic()
                if bare:
                    bare_loop.ingest(system, messages, f"bare-{customer}")
                else:
                    system.send_messages(messages)
                    system.wait(customer, comparison.count)
                seconds[bare].append(time.monotonic() - began)
    what = f"{comparison.row.name}_{comparison.count}_images_chunk_{comparison.chunk}"
    yield of_many(case, f"seconds_{what}", seconds[False], "s")
    yield of_many(case, f"seconds_bare_loop_{what}", seconds[True], "s")
    ratios = [one / other for one, other in zip(seconds[False], seconds[True], strict=True)]
    of_row = "" if comparison.row is ROW_1 else f"{comparison.row.name}_"
    yield of_many(case, f"ratio_to_bare_loop_{of_row}chunk_{comparison.chunk}", ratios, "x", comparison.goal)
