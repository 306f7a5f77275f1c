"""Dagster's history in SQLite files, as Dagster keeps it, without opening the files anew for each statement.

Dagster 1.13 makes an engine and a connection for every statement, two or three of them for an event. Storing one takes
seven milliseconds of processor time that way, and two with connections that stay open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Self

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes.config_class import ConfigurableClassData
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Connection, Engine

from dlcs_assets.instance.engines import Engines
from dlcs_assets.instance.planned import are_planned, last_of_each_asset
from dlcs_assets.instance.settled import Settled

KEPT_CONNECTIONS: Final = 4  # to each file; more are opened when they are needed

engines = Engines()


def _engine(address: str) -> Engine:
    def make() -> Engine:
        wait = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
        return create_engine(address, pool_size=KEPT_CONNECTIONS, max_overflow=-1, connect_args=wait)

    return engines.of(address, make)


class _Kept:
    """Has one of Dagster's storages use the connections that the process keeps."""

    _name: ClassVar[str]  # of the file
    _conn_string: str

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """Open the file, and make it if there is none; what this process has seen in place it doesn't look at again."""
        address = create_db_conn_string(base_dir, cls._name)
        if engines.is_ready(address):
            return cls(address, inst_data)  # type: ignore[call-arg]
        made: Self = super().from_local(base_dir, inst_data)  # type: ignore[misc]
        engines.note_ready(address)
        return made

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection in a transaction."""
        with _engine(self._conn_string).begin() as connection:
            yield connection


class Runs(_Kept, SqliteRunStorage):
    """Runs and their tags."""

    _name = "runs"


class Ticks(_Kept, Settled, SqliteScheduleStorage):
    """Sensors and schedules, and what each of their ticks did."""

    _name = "schedules"


class Events(SqliteEventLogStorage):
    """Events: a file for each run, and one for those of all assets."""

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        address = self.conn_string_for_shard(shard)
        with self._db_lock:
            engine = _engine(address)
            if not engines.is_ready(address):
                self._initdb(engine)
                engines.note_ready(address)
            with engine.begin() as connection:
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Tell whether the file of all assets has a table."""
        # Not by `index_connection`: this is asked in the midst of a transaction, and only one has the lock.
        return bool(inspect(_engine(self.conn_string_for_shard(INDEX_SHARD_NAME))).has_table(table_name))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store what a run is to make in one transaction of each file; other events one by one."""
        if not are_planned(events):
            super().store_event_batch(events)
            return
        rows = self.prepare_insert_event_batch(events)
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(rows)
        with self.index_connection() as connection:
            connection.execute(rows)
        for event in last_of_each_asset(events):
            self.store_asset_event(event, 0)  # of a planned event the asset's row does not have the number

    def wipe(self) -> None:
        """Delete all events, and the files of the runs."""
        engines.forget()
        super().wipe()


class SqliteHistory(DagsterSqliteStorage):
    """`storage` in `dagster.yaml`: `custom`, with `base_dir` as of Dagster's own `sqlite`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = Runs.from_local(_runs_directory(base_dir))
        self._event_log_storage = Events(_event_logs_directory(base_dir))
        self._schedule_storage = Ticks.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make it from what `dagster.yaml` says."""
        return cls.from_local(config_value["base_dir"], inst_data)
