"""A backlog of messages: how fast it is taken in, and whether the last tenth goes as fast as the first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import psutil

from bench.processes import server
from bench.result import Result, of_many, percentile_95
from bench.system import RunningSystem
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.messages import take_in
from dlcs_assets.ledger import Ledger
from dlcs_assets.settings import Settings
from dlcs_stack.aws import CREDENTIALS, REGION
from dlcs_testing import postgresql
from dlcs_testing.stack_processes import resident_megabytes

BACKLOG = 50_000
BACKLOG_POSTGRESQL = 25_000
QUICK_BACKLOG = 2_000
RATE_GOAL = 500.0
TICK_GOAL = 5.0
TENTHS = 10


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (none of both)
    """Take a backlog into an empty ledger of each kind, tick by tick, in this process; the queue is another one."""
    backlog = QUICK_BACKLOG if quick else BACKLOG
    with TemporaryDirectory() as folder:
        yield from _taken("sqlite", f"sqlite:///{folder}/ledger.db", backlog)
    binaries = postgresql.find_binaries()
    if binaries is not None:
        with postgresql.running(binaries) as database_server:
            yield from _taken("postgresql", database_server.new_database(), min(backlog, BACKLOG_POSTGRESQL))


def _taken(kind: str, url: str, backlog: int) -> Iterator[Result]:
    with ExitStack() as opened:
        queue = opened.enter_context(server("bench.queue_server", "--backlog", str(backlog)))
        opened.enter_context(patch.dict(os.environ, CREDENTIALS))
        queues = Queues(endpoint_url=queue["endpoint"], region_name=REGION)
        ledger = opened.enter_context(closing(Ledger(url)))
        settings = Settings(ledger_url=url, receive_wait=timedelta(0), customers=(2,))
        ticks: list[float] = []
        rates: list[float] = []
        memory: list[float] = []
        began, taken, next_tenth = time.monotonic(), 0, backlog / TENTHS
        tenth_began, tenth_taken = began, 0
        while taken < backlog:
            tick = time.monotonic()
            received = take_in(queues, ledger, queue["url"], Lane.INGEST, settings).received
            ticks.append(time.monotonic() - tick)
            if not received:
                raise RuntimeError(f"the queue is empty after {taken} of {backlog} messages")
            taken += received
            if taken >= next_tenth:
                now = time.monotonic()
                rates.append((taken - tenth_taken) / (now - tenth_began))
                memory.append(resident_megabytes(psutil.Process()))
                tenth_began, tenth_taken, next_tenth = now, taken, next_tenth + backlog / TENTHS
        seconds = time.monotonic() - began
        size = ledger.health.size()
    yield Result("intake", f"messages_per_second_{kind}", round(taken / seconds, 1), "/s", RATE_GOAL, at_least=True)
    yield of_many("intake", f"messages_per_second_by_tenths_{kind}", rates, "/s")
    yield Result("intake", f"last_tenth_to_first_{kind}", round(rates[-1] / rates[0], 3), "x")
    yield Result("intake", f"tick_seconds_95_percent_{kind}", round(percentile_95(ticks), 3), "s", TICK_GOAL)
    yield Result("intake", f"memory_growth_{kind}", round(memory[-1] - memory[0], 1), "MB")
    yield Result("intake", f"ledger_bytes_per_message_{kind}", round(size / taken), "B")
