"""The ledger from 10,000 images to a million: its size, and what ticks take, with nothing to do and with dispatch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import dagster as dg
from sqlalchemy import update

from bench.result import Result, of_many
from bench.scale import evaluate
from bench.scale_data import ask_again, fill_ledger, image_ids
from bench.system import RunningSystem
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger import tables as schema
from dlcs_assets.ledger.engine import make_engine
from dlcs_assets.settings import Settings

COUNTS = (10_000, 100_000, 1_000_000)
QUICK_COUNTS = (10_000, 20_000)
DUE = 100
ROUNDS = 5
ROUNDS_OF_COUNTS = 3  # they read all rows, and no goal is set for them
GOAL = 5.0


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (rows, not pages)
    """Measure a ledger of each size."""
    for count in QUICK_COUNTS if quick else COUNTS:
        with TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/ledger.db"
            images = image_ids(count)
            # Resources know of the ledger by the environment.
            with closing(Ledger(url)) as ledger, patch.dict(os.environ, {"DLCS_LEDGER_URL": url}):
                ledger.reports.counts()  # makes the tables
                fill_ledger(url, images)
                yield from _of(replace(system, settings=Settings(), ledger=ledger), images)


def _of(system: RunningSystem, images: list[str]) -> Iterator[Result]:
    count = len(images)
    yield Result("growth", f"ledger_bytes_for_each_of_{count}_images", round(system.ledger.health.size() / count), "B")
    with dg.DagsterInstance.ephemeral() as instance:
        tick = partial(evaluate, system, instance, "due_images")
        tick()  # what is loaded for the first time is loaded
        idle, dispatching = [], []
        due = [image for image in images if image.startswith("1/1/")][:DUE]
        for _ in range(ROUNDS):
            idle.append(_seconds_of(tick))
            ask_again(system.settings.ledger_url, due, Lane.RETRY)
            dispatching.append(_seconds_of(tick))
            _end_chunks(system.settings.ledger_url)
        yield of_many("growth", f"tick_seconds_nothing_due_{count}_images", idle, "s", GOAL)
        yield of_many("growth", f"tick_seconds_{DUE}_due_{count}_images", dispatching, "s", GOAL)
    counts = [_seconds_of(system.ledger.reports.counts) for _ in range(ROUNDS_OF_COUNTS)]
    yield of_many("growth", f"counts_seconds_{count}_images", counts, "s")


def _seconds_of(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _end_chunks(url: str) -> None:
    """Leave what was dispatched as its runs do. Raises RuntimeError if nothing was."""
    engine = make_engine(url)
    with engine.begin() as connection:
        reserved = schema.requests.c.state == RequestState.RESERVED
        now = datetime.now(UTC)
        done = {"state": RequestState.DONE, "chunk_id": None, "finished_at": now}
        ended = connection.execute(update(schema.requests).where(reserved).values(done)).rowcount
        connection.execute(update(schema.chunks).values(closed_at=now))
    engine.dispose()
    if ended != DUE:
        raise RuntimeError(f"{ended} of {DUE} due images were dispatched")
