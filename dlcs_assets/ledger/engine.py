"""From the ledger's URL to SQLAlchemy's engine; what is wrong with a URL or its server is said without the password."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dlcs_assets.database_errors import hide_values
from dlcs_assets.domain.redaction import shown_url

# What a database raises that is down, too busy, or has ended our transaction: the same work may succeed later.
UNAVAILABLE: Final = (OperationalError, InterfaceError, InternalError, PoolTimeout)

BUSY_TIMEOUT_SECONDS = 30
MODE_POLL_SECONDS = 0.02
CONNECT_TIMEOUT_SECONDS = 10
# The driver that dagster-postgres brings too; SQLAlchemy's own default for postgresql:// is another.
DRIVERS: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg2",
    "postgresql+psycopg2": "postgresql+psycopg2",
}


class UnusableLedgerError(Exception):
    """The ledger cannot be opened: its URL is wrong, its server does not answer, or its tables are not this version's.

    The message is complete, and shows the URL without user and password.
    """

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(f"The ledger at {where} (DLCS_LEDGER_URL) cannot be used: {cause}")


def make_engine(text: str) -> Engine:
    """Make the engine for a URL; nothing is connected yet. Raises UnusableLedgerError for a URL that can't be right."""
    hide_values()
    url = _parse(text)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, shown_url(text))
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "fallback_application_name": "dlcs-assets",
    }
    asked = {name: value for name, value in defaults.items() if name not in url.query}
    # Said by the driver as it begins a transaction. Those that only read change it.
    return create_engine(url, isolation_level="READ COMMITTED", connect_args=asked, hide_parameters=True)


@contextmanager
def foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Let SQLite copy and drop a table that others refer to, in a transaction that begins within.

    Otherwise the rows of the dropped table count as deleted. PostgreSQL changes tables in place.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        connection.rollback()  # what was not committed; within a transaction the next line would have no effect
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def unusable(engine: Engine, error: DBAPIError) -> UnusableLedgerError:
    """Say what the driver said, in one line."""
    cause = str(error.orig).strip().partition("\n")[0]
    return UnusableLedgerError(shown(engine), cause)


def shown(engine: Engine) -> str:
    """Return the URL as errors may show it."""
    return shown_url(engine.url.set(drivername=engine.dialect.name).render_as_string())


def _parse(text: str) -> URL:
    # The causes of these errors may quote a part of the password, so they are not chained.
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        hint = "it is no URL such as postgresql://user:password@host:5432/name; is a character to be %-encoded?"
        raise UnusableLedgerError("…", hint) from None
    if "@" in (url.host or ""):
        raise UnusableLedgerError("…", "there are two @ in it: write the one in the password as %40")
    if url.drivername not in DRIVERS:
        raise UnusableLedgerError(shown_url(text), "only sqlite:///… and postgresql://… are supported")
    return url.set(drivername=DRIVERS[url.drivername])


def _sqlite(url: URL, where: str) -> Engine:
    if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
        try:
            _make_private(Path(url.database).absolute())
        except OSError as error:
            raise UnusableLedgerError(where, f"its folder cannot be made: {error}") from error
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are opened by `Database`, not by the driver
        cursor = connection.cursor()
        _write_ahead(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine


def _make_private(database: Path) -> None:
    """Make the file that is yet to be one, for its owner alone: it holds addresses and messages.

    SQLite makes those next to it (-wal, -shm) with the mode of the database. One that is there stays as it is.
    """
    if not database.exists():
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(database, os.O_CREAT | os.O_RDWR, 0o600))


def _write_ahead(cursor: Any) -> None:
    """Set the mode of the journal, which stays with the file.

    SQLite's busy timeout does not cover this: opening a new database while another process makes its tables is refused.
    """
    give_up = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(MODE_POLL_SECONDS)
        else:
            return
