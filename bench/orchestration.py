"""What an image costs in addition to the work on it: with services that answer at once, on both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text

from bench import bare_loop
from bench.instant_system import Databases, instant_system
from bench.processes import processor_seconds
from bench.result import Result, of_many
from bench.system import RunningSystem
from dlcs_stack.stack import DAGSTER, RunningStack
from dlcs_testing import postgresql
from dlcs_testing.harness import full_message
from dlcs_testing.stack_processes import of_service

CHUNK = 50
QUICK_CHUNK = 20
PROCESSES = (1, 2, 4)
ON_SQLITE = (1,)
CHUNKS_OF_ONE = 2  # one after the other
IDLE_SECONDS = {"sqlite": 65, "postgresql": 10}  # what Dagster does once a minute is part of the former
QUICK_IDLE_SECONDS = 5
TURNS = 4  # of the bare loop
PAUSE_SECONDS = 2  # PostgreSQL's sessions report what they did a little late
MILLISECONDS_GOAL = 30.0
RATE_GOAL = 30.0
ENDED = """SELECT count(*), min(ended_at), max(ended_at) FROM attempts JOIN requests ON requests.id = request_id
    WHERE customer = :customer GROUP BY attempts.run_id"""
WRITES = """SELECT sum(xact_commit), sum(tup_inserted + tup_updated + tup_deleted) FROM pg_stat_database
    WHERE datname ~ '^ledger'"""


@dataclass(frozen=True)
class Writes:
    """Commits, and rows written, up to a moment or in a time."""

    commits: float
    rows: float
    seconds: float

    def since(self, before: Writes) -> Writes:
        """Return what came in between."""
        return Writes(self.commits - before.commits, self.rows - before.rows, self.seconds - before.seconds)

    def above(self, idle: Writes) -> Writes:
        """Return what would not have been there in an idle system."""
        share = self.seconds / idle.seconds
        return Writes(self.commits - share * idle.commits, self.rows - share * idle.rows, self.seconds)


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (of its own)
    """Measure the calls alone, then the system with SQLite, and with PostgreSQL if there is a server."""
    if not quick:
        yield from _bare_loop()
    binaries = postgresql.find_binaries()
    if binaries is None or not quick:
        yield from _with(Databases("sqlite"), quick=quick)
    if binaries is not None:
        with postgresql.running(binaries) as server:
            yield from _with(Databases("postgresql", server), quick=quick)


def _bare_loop() -> Iterator[Result]:
    """Measure the calls alone, without Dagster and ledger: what no way of orchestrating them could save."""
    used, rates = [], []
    with _system(Databases("sqlite")) as (system, page):
        origin = system.upload(page, "1/1/page")
        for turn in range(TURNS):
            messages = [full_message(f"1/1/{number}", origin) for number in range(CHUNK)]
            before, began = time.process_time(), time.monotonic()
            bare_loop.ingest(system, messages, f"bare-{turn}")
            used.append((time.process_time() - before) * 1000 / CHUNK)
            rates.append(CHUNK / (time.monotonic() - began))
    # The first round imports what the others use.
    yield of_many("orchestration", "milliseconds_of_processor_bare_loop", used[1:], "ms")
    yield of_many("orchestration", "images_per_second_bare_loop", rates[1:], "/s")


def _with(databases: Databases, *, quick: bool) -> Iterator[Result]:
    kind = databases.kind
    with _system(databases) as (system, page):
        _cost(system, page, 100, 1)  # what is loaded for the first time is loaded
        written, before, began = _writes(databases), _used(system.stack), time.monotonic()
        time.sleep(QUICK_IDLE_SECONDS if quick else IDLE_SECONDS[kind])
        idle = (_used(system.stack) - before) / (time.monotonic() - began)
        idle_writes = _writes(databases).since(written)
        yield Result("orchestration", f"processors_when_idle_{kind}", round(idle, 3), "")
        single = [_cost(system, page, 101 + number, 1)[0] for number in range(1 if quick else 3)]
        yield of_many("orchestration", f"milliseconds_for_a_run_of_one_image_{kind}", single, "ms")
        curve = PROCESSES if databases.server else ON_SQLITE
        for processes in curve[:1] if quick else curve:
            chunks = processes if quick or processes > 1 else CHUNKS_OF_ONE
            count = (QUICK_CHUNK if quick else CHUNK) * chunks
            written = _writes(databases)
            used, seconds = _cost(system, page, processes, count)
            ours = _writes(databases).since(written).above(idle_writes)
            what = f"{kind}_{processes}"
            yield Result(
                "orchestration", f"milliseconds_of_processor_{what}", round(used / count, 1), "ms", MILLISECONDS_GOAL
            )
            further = (used - median(single) * chunks) / count
            yield Result("orchestration", f"the_same_without_starting_runs_{what}", round(further, 1), "ms")
            yield Result("orchestration", f"images_per_second_{what}", round(count / seconds, 1), "/s")
            goal = RATE_GOAL if databases.server and processes == 1 else None
            rates = _rates(system, processes)
            yield of_many(
                "orchestration", f"images_per_second_of_a_run_at_work_{what}", rates, "/s", goal, at_least=True
            )
            if databases.server and processes == 1:
                yield Result("orchestration", "commits_for_each_image", round(ours.commits / count, 1), "")
                yield Result("orchestration", "rows_written_for_each_image", round(ours.rows / count, 1), "")


def _system(databases: Databases) -> AbstractContextManager[tuple[RunningSystem, Path]]:
    """Start a system in which a customer has as many runs at once as its number says."""
    limits = "".join(f"  {number}: {{runs_in_flight: {number}}}\n" for number in PROCESSES)
    singles = "".join(f"  {100 + number}: {{}}\n" for number in range(4))
    settings = {"DLCS_CHUNK_SIZE": str(CHUNK), "DLCS_CHUNKS_IN_FLIGHT": str(max(PROCESSES))}
    return instant_system(databases, f"customers:\n{limits}{singles}", settings, runs=max(PROCESSES))


def _writes(databases: Databases) -> Writes:
    """Count what PostgreSQL wrote since it began. SQLite does not count."""
    if databases.server is None:
        return Writes(0, 0, time.monotonic())
    time.sleep(PAUSE_SECONDS)
    ((commits, rows),) = databases.server.execute(WRITES)
    return Writes(float(commits), float(rows), time.monotonic())


def _used(stack: RunningStack) -> float:
    """Return the processor seconds of all that is ours: daemon, code server, runs, webserver."""
    return sum(processor_seconds(of_service(stack, each)) for each in DAGSTER)


def _cost(system: RunningSystem, page: Path, customer: int, count: int) -> tuple[float, float]:
    """Ingest images; return the milliseconds of processor for all of them, and the seconds that passed."""
    origin = system.upload(page, f"{customer}/1/page")
    before, began = _used(system.stack), time.monotonic()
    system.send([(f"{customer}/1/{number}", origin) for number in range(count)])
    system.wait(customer, count)
    seconds = time.monotonic() - began
    time.sleep(1.5)  # runs that have reported all images end
    return (_used(system.stack) - before) * 1000, seconds


def _rates(system: RunningSystem, customer: int) -> list[float]:
    """Return the images per second of each run, from its first image to its last."""
    url = system.settings.ledger_url
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect() as connection:
        rows = connection.execute(text(ENDED), {"customer": customer}).all()
    engine.dispose()
    return [(count - 1) / max(_seconds(last) - _seconds(first), 0.001) for count, first, last in rows if count > 1]


def _seconds(moment: object) -> float:
    return (moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))).timestamp()
