"""The ledger as a Dagster resource: for one Dagster instance only, and for one process of a run only."""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import dagster as dg
from pydantic import Field

from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.database import NotOwnerError
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.ledger.workers import Entry

log = logging.getLogger(__name__)

STANDBY_POLL_SECONDS: Final = 1.0
TEMPORARY_HOME: Final = ".tmp_dagster_home_"  # how `dagster dev` calls its folder if DAGSTER_HOME is not set
_AT_ONCE: Final = RetrySchedule(attempts=1, delay=timedelta(0))  # a take-over counts no attempt


class LedgerResource(dg.ConfigurableResource[Ledger]):
    """The ledger's database. URL and key are read from the environment, so that they are never shown."""

    url: str = Field(description="SQLAlchemy URL of the database.")
    key: str | None = Field(default=None, description="Keys of the encrypted columns.")
    heartbeat_seconds: float = Field(default=10.0, gt=0, description="How often the process of a run says it lives.")
    claim_ttl_seconds: float = Field(
        default=120.0, ge=0, description="When a process of a run that says nothing counts as dead."
    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Ledger, None, None]:
        """Open the ledger for a tick or a run. Raises NotOwnerError if it belongs to another Dagster instance."""
        writer = require_owner(self.url, self.key, context.instance) if context.instance else None
        ledger = process_ledger(self.url, self.key, writer)
        if context.run is None or context.instance is None:
            yield ledger
            return
        ttl, heartbeat = timedelta(seconds=self.claim_ttl_seconds), timedelta(seconds=self.heartbeat_seconds)
        with only_process(ledger, context.instance, context.run.run_id, ttl=ttl, heartbeat=heartbeat):
            yield ledger


@lru_cache(maxsize=8)
def process_ledger(url: str, key: str | None, writer: str | None = None) -> Ledger:
    """Return this process's ledger for the URL; its connections are shared by all ticks of a code server."""
    return Ledger(url, key, writer=writer)


def identity(instance: dg.DagsterInstance) -> tuple[str, str]:
    """Return the id of a Dagster instance, which its storage keeps, and where this process of it runs.

    All processes of an instance share its storage, on whatever machine they are. A storage that is new has a new id.
    """
    storage: Any = instance.run_storage  # each of Dagster's storages in SQL has the method, their common base has not
    storage.get_run_storage_id()
    # Again: if two processes asked a new storage at once, it has two, and returns the first to all from now on.
    return str(storage.get_run_storage_id()), place(instance.root_directory)


def place(dagster_home: str) -> str:
    """Return how people recognise an instance: machine and folder."""
    return f"{socket.gethostname()}:{dagster_home}"


def is_gone(name: str) -> bool:
    """Return whether an instance cannot come back: that of a `dagster dev` without DAGSTER_HOME, on this machine.

    It has a folder and a storage of its own for each start, which it deletes at its end.
    """
    host, _, home = name.partition(":")
    return host == socket.gethostname() and Path(home).name.startswith(TEMPORARY_HOME) and not Path(home).exists()


def require_owner(url: str, key: str | None, instance: dg.DagsterInstance) -> str | None:
    """Return the id of the Dagster instance; it owns the ledger from now on, if none did.

    Raises NotOwnerError if another one does, unless that is gone (`is_gone`). An instance that ends with its process
    can own nothing: for it None is returned, if no one owns the ledger.
    """
    instance_id, name = identity(instance)
    passing = instance.is_ephemeral
    ownership = process_ledger(url, key, None if passing else instance_id).ownership
    if not passing and (found := ownership.current()) and found.instance_id != instance_id and is_gone(found.name):
        log.warning("The ledger's owner, %s, ended with its folder: %s takes over", found.name, name)
        process_ledger(url, key).ownership.take_over(instance_id, name, schedule=_AT_ONCE, now=datetime.now(UTC))
    if not passing or ownership.current() is not None:
        ownership.require(instance_id, name, now=datetime.now(UTC))
    return None if passing else instance_id


@contextmanager
def only_process(
    ledger: Ledger, instance: dg.DagsterInstance, run_id: str, *, ttl: timedelta, heartbeat: timedelta
) -> Iterator[None]:
    """Work on a run as its only process.

    A run may be launched twice: by two daemons, or by one that takes a run for lost. The second process stands by. It
    ends without a word when the run has ended, and takes the place of the first one if that dies.
    """
    _stand_by(ledger, instance, run_id, ttl)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(ledger, run_id, heartbeat, stop), daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        with suppress(NotOwnerError, *UNAVAILABLE):  # it is about to end: its silence says the same, later
            ledger.workers.leave(run_id, now=datetime.now(UTC))


def _stand_by(ledger: Ledger, instance: dg.DagsterInstance, run_id: str, ttl: timedelta) -> None:
    give_up = time.monotonic() + ttl.total_seconds()
    said = False
    while (entry := ledger.workers.enter(run_id, ttl=ttl, now=datetime.now(UTC))) is not Entry.MINE:
        if not said:
            log.warning("Another process works on run %s: process %d stands by", run_id, os.getpid())
            said = True
        run = instance.get_run_by_id(run_id)
        over = run is None or run.is_finished or run.status is dg.DagsterRunStatus.CANCELING
        # The other one was through with it, and then died before Dagster knew.
        if over or (entry is Entry.ENDED and time.monotonic() > give_up):
            log.warning("Process %d ends: run %s was worked on by another one", os.getpid(), run_id)
            _end_without_events()
        time.sleep(STANDBY_POLL_SECONDS)


def _end_without_events() -> None:
    """End this process at once: Dagster would write the run's end into its history, which another process has done."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _beat(ledger: Ledger, run_id: str, every: timedelta, stop: threading.Event) -> None:
    while not stop.wait(every.total_seconds()):
        try:
            if not ledger.workers.beat(run_id, now=datetime.now(UTC)):
                return  # given to another process: what this one claimed is no longer its own
        except NotOwnerError:
            return
        except Exception:  # one missed beat is no reason to give up
            log.exception("heartbeat of run %s failed", run_id)
