"""A ledger of a million images on PostgreSQL: how long a person waits for `dlcs status`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.result import Result, of_many
from bench.scale_data import fill_ledger, image_ids
from dlcs_assets.ledger import Ledger
from dlcs_testing import postgresql

CASE: Final = "limit"
IMAGES: Final = 1_000_000
QUICK_IMAGES: Final = 10_000
ROUNDS: Final = 5
GOAL: Final = 0.3
_DLCS: Final = Path(sys.executable).parent / "dlcs"


def measure_large_ledger(*, quick: bool) -> Iterator[Result]:
    """Measure the command as it is called, and what it takes with no image in the ledger: its start."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        return
    count = QUICK_IMAGES if quick else IMAGES
    with postgresql.running(binaries) as server:
        url = server.new_database()
        with closing(Ledger(url)) as ledger:
            ledger.reports.counts()  # makes the tables
            empty = _status(url)
            fill_ledger(url, image_ids(count))
            server.execute("VACUUM ANALYZE")
            size = round(ledger.health.size() / count)
        full = _status(url)
    yield of_many(CASE, "status_seconds_of_a_new_ledger", empty, "s")
    yield of_many(CASE, f"status_seconds_at_{count}", full, "s", GOAL)
    yield Result(CASE, f"ledger_bytes_for_each_of_{count}_images", size, "B")


def _status(url: str) -> list[float]:
    seconds = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        command = [str(_DLCS), "status", "--customer", "2"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DLCS_LEDGER_URL": url})
        seconds.append(time.monotonic() - began)
    return seconds
