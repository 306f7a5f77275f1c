"""The ledger's database connection: engine, pragmas, transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from dlcs_assets.resources.ledger import schema

BUSY_TIMEOUT_SECONDS = 30


class Database:
    """Short transactions on one database. No I/O other than SQL may happen inside one."""

    def __init__(self, url: str) -> None:
        self._engine = _create_engine(url)
        # SQLite has one writer: threads of one process queue here instead of polling its lock.
        self._writers: Any = threading.Lock() if self._engine.dialect.name == "sqlite" else nullcontext()
        self._create_tables()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write. It holds the write lock from its first statement on."""
        with self._writers, self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads, all from one moment."""
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()

    def _create_tables(self) -> None:
        with self.write() as connection:
            schema.metadata.create_all(connection)
            if connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "schema")) is None:
                try:
                    with connection.begin_nested():
                        connection.execute(insert(schema.meta).values(name="schema", value=str(schema.SCHEMA_VERSION)))
                except IntegrityError:
                    return  # another process was first; PostgreSQL has no lock over a table's creation


def _create_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are opened by `write` and `read`, not by the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    return engine
