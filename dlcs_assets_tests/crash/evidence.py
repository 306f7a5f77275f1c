"""What is kept of a system that stands still: where each thread is, the logs, the databases, and what is open."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from dlcs_assets.ledger.tables import metadata
from dlcs_assets_tests.crash.world import World
from dlcs_stack.stack import Component
from dlcs_testing.stack_processes import of_service

# In the order in which they can be started again. Not the stand-in for S3 and SQS: it would forget what later histories
# need.
ABORTED: Final = (
    Component.APPETISER,
    Component.IMAGE_SERVER,
    Component.CODE_SERVER,
    Component.WEBSERVER,
    Component.DAEMON,
)
END_SECONDS: Final = 5


def keep_evidence(world: World, folder: Path) -> None:
    """Write it all into a new folder. The processes end by it, and are restarted: the next history finds new ones."""
    folder.mkdir(parents=True)
    _write_ledger(world, folder / "ledger")
    for component in reversed(ABORTED):
        with suppress(psutil.NoSuchProcess):  # its guard has ended
            _abort(of_service(world.stack, component), world.stack.log(component))
    shutil.copytree(world.stack.data, folder / "stack", ignore=shutil.ignore_patterns("scratch"))
    for component in ABORTED:
        world.restart(component)


def _abort(processes: list[psutil.Process], log: Path) -> None:
    """Have each process write to its service's log where its threads are (PYTHONFAULTHANDLER), and end."""
    for process in reversed(processes):  # what others started, before those
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            with log.open("a") as lines:
                lines.write(f"\n=== process {process.pid}, {process.status()}: {command[:200]}\n")
            process.send_signal(signal.SIGABRT)
            process.resume()
            process.wait(END_SECONDS)


def _write_ledger(world: World, folder: Path) -> None:
    """Write each table, a row a line: also of a ledger in PostgreSQL."""
    folder.mkdir()
    for table in metadata.sorted_tables:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        rows = world.system.rows(f'SELECT {columns} FROM "{table.name}"')
        (folder / f"{table.name}.txt").write_text("\n".join(map(repr, [tuple(table.columns.keys()), *rows])))
