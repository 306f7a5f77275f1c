"""What PostgreSQL was asked to do, by its own counts: transactions that wrote, and statements."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlcs_testing import postgresql

PAUSE_SECONDS: Final = 2  # its sessions report what they did a little late
_OPTIONS: Final = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.max=10000")
# Only a transaction that writes gets a number.
_WRITTEN: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_STATEMENTS: Final = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query !~* 'pg_stat_statements'"


@dataclass(frozen=True)
class Counts:
    """What there was up to a moment, or in a time."""

    writing_transactions: float
    statements: float
    seconds: float

    def since(self, before: Counts) -> Counts:
        """Return what came in between."""
        return Counts(
            self.writing_transactions - before.writing_transactions,
            self.statements - before.statements,
            self.seconds - before.seconds,
        )

    def above(self, idle: Counts) -> Counts:
        """Return what would not have been there in an idle system."""
        share = self.seconds / idle.seconds
        return Counts(
            self.writing_transactions - share * idle.writing_transactions,
            self.statements - share * idle.statements,
            self.seconds,
        )


@contextmanager
def counting(binaries: Path) -> Iterator[postgresql.Server]:
    """Start a server that counts statements."""
    with postgresql.running(binaries, _OPTIONS) as server:
        server.execute("CREATE EXTENSION pg_stat_statements")
        yield server


def counts_of(of_ledger: postgresql.Server, of_dagster: postgresql.Server) -> Counts:
    """Return the ledger's transactions that wrote, and the statements of both, since they began.

    To look is not counted.
    """
    time.sleep(PAUSE_SECONDS)
    written = int(of_ledger.execute(_WRITTEN)[0][0])
    statements = sum(float(server.execute(_STATEMENTS)[0][0]) for server in (of_ledger, of_dagster))
    return Counts(written, statements, time.monotonic())
