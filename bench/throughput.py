"""Pages through the whole system, against a bare loop that makes the same calls without Dagster and ledger."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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

ROUNDS = 5
GOAL = 1.1
LARGE_GOAL = 1.03
CUSTOMERS = range(100, 200)


@dataclass(frozen=True)
class Comparison:
    """So many images of a row, in chunks of a size."""

    row: Row
    chunk: int
    count: int
    goal: float | None = None


COMPARISONS = (
    Comparison(ROW_1, 50, 50, GOAL),
    Comparison(ROW_4, 50, 50, GOAL),
    Comparison(ROW_5, 50, 50, GOAL),
    Comparison(ROW_8, 50, 50, GOAL),
)
OTHER_SIZES = (
    Comparison(ROW_1, 1, 3),
    Comparison(ROW_1, 10, 10),
    Comparison(ROW_5, 200, 200),
)
LARGE = (Comparison(ROW_1_LARGE, 50, 50, LARGE_GOAL),)
QUICK = (Comparison(ROW_1, 50, 5, GOAL), Comparison(ROW_8, 50, 5, GOAL))
QUICK_OTHER_SIZES = (Comparison(ROW_1, 10, 3),)
QUICK_LARGE = (Comparison(ROW_1_LARGE, 50, 2, LARGE_GOAL),)


def measure(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Compare chunks of fifty pages."""
    yield from _measured("throughput", QUICK if quick else COMPARISONS, pages, 1 if quick else ROUNDS)


def measure_sizes(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Compare chunks of other sizes."""
    yield from _measured("sizes", QUICK_OTHER_SIZES if quick else OTHER_SIZES, pages, 1 if quick else ROUNDS)


def measure_large(_: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Compare chunks of fifty large images, which take two minutes each."""
    yield from _measured("large", QUICK_LARGE if quick else LARGE, pages, 1 if quick else ROUNDS)


def _measured(case: str, comparisons: Sequence[Comparison], pages: list[Path], rounds: int) -> Iterator[Result]:
    """Compare in systems of their own, one for each size of chunks."""
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
            for chunk, of_chunk in groupby(comparisons, lambda each: each.chunk):
                settings = {"DLCS_CHUNK_SIZE": str(chunk), "DLCS_CUSTOMERS_FILE": str(customers)}
                with running(settings) as system:
                    make_shelf(system)
                    yield from _compared(case, system, list(of_chunk), origins, rounds)


def _compared(
    case: str, system: RunningSystem, comparisons: Sequence[Comparison], origins: Library, rounds: int
) -> Iterator[Result]:
    """Alternate between system and bare loop, each with all rows: what else the machine does meets both.

    While the bare loop runs, the system does not tick. To switch its sensors off and on takes ten seconds, so it is
    done seldom: a b b a a b b a.
    """
    customers = iter(CUSTOMERS)
    seconds: list[dict[bool, list[float]]] = [{True: [], False: []} for _ in comparisons]
    turns = [turn for number in range(rounds) for turn in ((False, True), (True, False))[number % 2]]
    for bare, together in groupby(turns):
        with system.without_ticks() if bare else nullcontext():
            for _ in together:
                for comparison, taken in zip(comparisons, seconds, strict=True):
                    taken[bare].append(_seconds_of(system, comparison, origins, next(customers), bare=bare))
    for comparison, taken in zip(comparisons, seconds, strict=True):
        yield from _results(case, comparison, taken)


def _seconds_of(system: RunningSystem, comparison: Comparison, origins: Library, customer: int, *, bare: bool) -> float:
    messages = origins.messages(system, comparison.row, comparison.count, customer)
    began = time.monotonic()
    if bare:
        bare_loop.ingest(system, messages, f"bare-{customer}")
    else:
        system.send_messages(messages)
        system.wait(customer, comparison.count)
    return time.monotonic() - began


def _results(case: str, comparison: Comparison, seconds: Mapping[bool, Sequence[float]]) -> Iterator[Result]:
    what = f"{comparison.row.name}_{comparison.count}_images_chunk_{comparison.chunk}"
    yield of_many(case, f"seconds_{what}", seconds[False], "s")
    yield of_many(case, f"seconds_bare_loop_{what}", seconds[True], "s")
    ratios = [one / other for one, other in zip(seconds[False], seconds[True], strict=True)]
    of_row = "" if comparison.row is ROW_1 else f"{comparison.row.name}_"
    yield of_many(case, f"ratio_to_bare_loop_{of_row}chunk_{comparison.chunk}", ratios, "x", comparison.goal)
