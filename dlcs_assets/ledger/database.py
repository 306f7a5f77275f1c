"""The ledger's database: transactions that are alike on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from dlcs_assets.ledger import schema_version as version
from dlcs_assets.ledger.encryption import use_key
from dlcs_assets.ledger.engine import BUSY_TIMEOUT_SECONDS, foreign_keys_off, make_engine, unusable
from dlcs_assets.ledger.tables import owner

IDLE_TIMEOUT_SECONDS = 20  # shorter than the others' wait, so that they outlast a writer that froze
WRITE_LOCK = int.from_bytes(b"dlcs")  # any number that others who share the database do not lock

CUSTOMER_LOCKS = WRITE_LOCK  # with a customer's number: PostgreSQL keeps locks of two numbers apart from those of one

# SQLite has one writer at a time. On PostgreSQL it is one as well, but for runs that write what they hold: these share
# the lock among each other (docs/decisions/0003 and 0055). It is taken before the first statement that reads, and each
# statement after it sees all that earlier writers committed.
BEGIN_WRITE = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": (
        "SELECT set_config('lock_timeout', '{busy}s', true),"
        " set_config('idle_in_transaction_session_timeout', '{idle}s', true),"
        " {function}({lock})"
    ),
}
BEGIN_READ = {
    "sqlite": "BEGIN",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}


class ClaimLostError(Exception):
    """The run no longer holds the image: another run may have it. Publish nothing more for it."""


class NotOwnerError(ClaimLostError):
    """The ledger works for another Dagster instance: no run of this one holds anything. Nothing was written."""


class Database:
    """Short transactions on one database. No I/O other than SQL may happen inside one.

    Opening it brings its tables to today's version. With `keys` (see `encryption`) what may hold secrets is encrypted.
    With `writer`, the id of a Dagster instance, nothing is written once the ledger works for another one.
    Raises UnusableLedgerError and WrongKeyError.
    """

    def __init__(self, url: str, keys: str | None = None, *, writer: str | None = None) -> None:
        self._writer = writer
        self._engine = make_engine(url)
        use_key(self._engine.dialect, keys)
        # There is one writer: threads of one process queue here, not each with a connection in hand.
        self._writers = threading.Lock()
        dialect = self._engine.dialect.name
        self._begin_read = BEGIN_READ[dialect]
        self._begin_write = _begin_write(dialect, "pg_advisory_xact_lock")
        self._begin_write_held = _begin_write(dialect, "pg_advisory_xact_lock_shared")
        self._bring_up_to_date()

    @contextmanager
    def write(self, *, by_former_owner: bool = False) -> Iterator[Connection]:
        """Open a transaction that may write. No other one, in whatever process, runs at the same time.

        Raises NotOwnerError, before anything is written, if the ledger works for another Dagster instance by now,
        unless a former owner has something to say that the new one must know.
        """
        with self._writers, self._begun(self._begin_write) as connection:
            if not by_former_owner:
                self._check_writer(connection)
            yield connection
            connection.commit()

    @contextmanager
    def write_held(self, *, quotas_of: Collection[int] = ()) -> Iterator[Connection]:
        """Open a transaction that writes nothing but rows of images that this process holds, and its claims on them.

        On PostgreSQL several processes may be in one at the same time, and none is in one of `write`: so no claim
        begins or is lost during it. No two of them write the same row, so that none waits for another, unless both
        reserve a part of the same customer's quota: customers whose quotas it checks are named, and locked in one
        order. Raises NotOwnerError as `write` does.
        """
        with self._writers, self._begun(self._begin_write_held) as connection:
            self._check_writer(connection)
            if connection.dialect.name == "postgresql":
                for customer in sorted(quotas_of):
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CUSTOMER_LOCKS}, {int(customer)})")
            yield connection
            connection.commit()

    def _check_writer(self, connection: Connection) -> None:
        if self._writer is not None:
            found = connection.scalar(select(owner.c.instance_id))
            if found not in {None, self._writer}:
                raise NotOwnerError(f"The ledger works for Dagster instance {found} now, not for {self._writer}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads, all from one moment."""
        with self._begun(self._begin_read) as connection:
            yield connection

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        """Open a transaction that may copy and drop tables: on SQLite, foreign keys are checked at its end only."""
        with self._writers, self._engine.connect() as connection, foreign_keys_off(connection):
            connection.exec_driver_sql(self._begin_write)
            yield connection
            connection.commit()

    @contextmanager
    def _begun(self, begin: str) -> Iterator[Connection]:
        """Open a transaction by this statement.

        It shows, too, whether a pooled connection is still one: nothing else is asked before it. If it is not, all
        that are pooled are given up, and a new one is opened, once.
        """
        with ExitStack() as opened:
            connection = opened.enter_context(self._engine.connect())
            try:
                connection.exec_driver_sql(begin)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                connection.close()
                connection = opened.enter_context(self._engine.connect())
                connection.exec_driver_sql(begin)
            yield connection

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()

    def _bring_up_to_date(self) -> None:
        try:
            with self.read() as connection:
                if version.is_current(connection):
                    return
            with self._migrating() as connection:
                version.upgrade(connection)
        except DBAPIError as error:
            self.close()
            raise unusable(self._engine, error) from error


def _begin_write(dialect: str, function: str) -> str:
    return BEGIN_WRITE[dialect].format(
        busy=BUSY_TIMEOUT_SECONDS, idle=IDLE_TIMEOUT_SECONDS, function=function, lock=WRITE_LOCK
    )
