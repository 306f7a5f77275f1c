"""A backlog on PostgreSQL, with services that answer at once: what is left to measure is what the system adds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, text

from bench.database_counts import counting, counts_of
from bench.instant_system import Databases, instant_system
from bench.processes import seconds_of
from bench.result import Result, of_many
from bench.system import RunningSystem
from dlcs_stack.stack import DAGSTER, Component, RunningStack
from dlcs_testing import postgresql

CASE: Final = "limit"
BACKLOG: Final = 2_000
QUICK_BACKLOG: Final = 100
IDLE_SECONDS: Final = 60  # what Dagster does once a minute is part of it
QUICK_IDLE_SECONDS: Final = 5
CUSTOMER: Final = 1
PROCESSOR_GOAL: Final = 25.0
RATE_GOAL: Final = 45.0
TRANSACTIONS_GOAL: Final = 0.3
STATEMENTS_GOAL: Final = 10.0
IDLE_GOAL: Final = 0.03
_ENDED: Final = """SELECT count(*), min(ended_at), max(ended_at) FROM attempts JOIN requests ON requests.id = request_id
    WHERE customer = :customer GROUP BY attempts.run_id"""


def measure_backlog(*, quick: bool) -> Iterator[Result]:
    """Let one run at a time work on a backlog. Without PostgreSQL there is nothing to count, and no result."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        return
    with ExitStack() as opened:
        of_ledger = opened.enter_context(counting(binaries))
        of_dagster = opened.enter_context(counting(binaries))
        customers = f"customers:\n  {CUSTOMER}: {{runs_in_flight: 1}}\n  2: {{}}\n"
        databases = Databases("postgresql", of_ledger, of_dagster)
        system, page = opened.enter_context(instant_system(databases, customers, {}, runs=3))
        yield from _measured(system, page, (of_ledger, of_dagster), quick=quick)


def _measured(
    system: RunningSystem, page: Path, servers: tuple[postgresql.Server, postgresql.Server], *, quick: bool
) -> Iterator[Result]:
    # What is loaded for the first time is loaded.
    system.send([("2/1/first", system.upload(page, "2/1/page"))])
    system.wait(2, 1)
    counted = counts_of(*servers)
    before, began = seconds_of(system.stack, DAGSTER), time.monotonic()
    time.sleep(QUICK_IDLE_SECONDS if quick else IDLE_SECONDS)
    idle = (seconds_of(system.stack, DAGSTER) - before) / (time.monotonic() - began)
    when_idle = counts_of(*servers).since(counted)
    yield Result(CASE, "processors_when_idle", round(idle, 3), "", IDLE_GOAL)

    count = QUICK_BACKLOG if quick else BACKLOG
    origin = system.upload(page, f"{CUSTOMER}/1/page")
    counted = counts_of(*servers)
    used_before, began = _used_by(system.stack), time.monotonic()
    system.send([(f"{CUSTOMER}/1/{number:05}", origin) for number in range(count)])
    system.wait(CUSTOMER, count, poll_seconds=2)  # what it asks is counted, too
    seconds = time.monotonic() - began
    ours = counts_of(*servers).since(counted).above(when_idle)
    used = {each: (after - used_before[each]) * 1000 / count for each, after in _used_by(system.stack).items()}
    yield Result(CASE, "processor_ms_per_image", round(sum(used.values()), 1), "ms", PROCESSOR_GOAL)
    for component, own in used.items():
        name = "daemon_and_runs" if component is Component.DAEMON else component.value.replace("-", "_")
        yield Result(CASE, f"of_which_{name}", round(own, 1), "ms")
    yield of_many(CASE, "images_per_second_of_a_run", _rates(system), "/s", RATE_GOAL, at_least=True)
    yield Result(CASE, "images_per_second_of_the_system", round(count / seconds, 1), "/s")
    transactions = ours.writing_transactions / count
    yield Result(CASE, "write_transactions_per_image", round(transactions, 2), "", TRANSACTIONS_GOAL)
    yield Result(CASE, "statements_per_image", round(ours.statements / count, 1), "", STATEMENTS_GOAL)


def _used_by(stack: RunningStack) -> dict[Component, float]:
    """Return the processor seconds of all that is ours: daemon with runs, code server, webserver."""
    return {each: seconds_of(stack, [each]) for each in DAGSTER}


def _rates(system: RunningSystem) -> list[float]:
    """Return the images per second of each run, from its first image to its last."""
    engine = create_engine(system.settings.ledger_url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect() as connection:
        rows = connection.execute(text(_ENDED), {"customer": CUSTOMER}).all()
    engine.dispose()
    return [(count - 1) / max(_seconds(last) - _seconds(first), 0.001) for count, first, last in rows if count > 1]


def _seconds(moment: object) -> float:
    return (moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))).timestamp()
