"""Dagster's storage in PostgreSQL on pooled connections.

Dagster 1.13 connects for every statement, two or three times for an event, and with TLS and a password each connection
takes milliseconds of both sides. Only its webserver pools them. Tables and statements here are Dagster's own, so that
its `postgres` storage reads what this one wrote, and the reverse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from dagster import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._serdes.config_class import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
from sqlalchemy import func, select
from sqlalchemy.engine import Connection, Engine

from dlcs_assets.database_errors import hide_values

if TYPE_CHECKING:
    from dagster_postgres.auth import PgTokenProvider

POOL_SIZE: Final = 4  # open while nothing happens, in each process; more are opened when they are needed
RECYCLE_SECONDS: Final = 300  # less than firewalls let an idle connection live

ASSET_LOCKS: Final = 0x646C6373  # the number space of our locks in PostgreSQL: "dlcs"

# By URL, for the whole process: the code server makes an instance for each tick.
_engines: dict[str, Engine] = {}
_with_tables: set[str] = set()
_seen: set[tuple[str, str]] = set()  # tables and migrations, by URL
_lock = threading.Lock()


def pooled_engine(url: str, token_provider: PgTokenProvider | None) -> Engine:
    """Return the process's engine for a database."""
    hide_values()
    with _lock:
        if url not in _engines:
            _engines[url] = create_pg_engine(
                url,
                token_provider,
                isolation_level="AUTOCOMMIT",
                pool_size=POOL_SIZE,
                max_overflow=-1,
                pool_recycle=RECYCLE_SECONDS,
                pool_pre_ping=True,  # the server may have been restarted
                hide_parameters=True,
            )
        return _engines[url]


class _Pooled:
    """Makes one of Dagster's storages use the process's engine."""

    def __init__(self, postgres_url: str, create_tables: bool, token_provider: PgTokenProvider | None) -> None:
        self._url = postgres_url
        super().__init__(postgres_url, create_tables, token_provider=token_provider)  # type: ignore[call-arg]
        self._engine = pooled_engine(postgres_url, token_provider)

    def _is_there(self, what: str, look: Callable[[], bool]) -> bool:
        """Look for a table or a migration once: what was there stays."""
        key = self._url, what
        if key not in _seen and look():
            _seen.add(key)
        return key in _seen


class PooledPostgresRunStorage(_Pooled, PostgresRunStorage):
    """Runs and their tags."""


class PooledPostgresScheduleStorage(_Pooled, PostgresScheduleStorage):
    """The state of sensors and schedules, and what each of their ticks did.

    Dagster looks whether its tables are there each time that it reads or writes a sensor's state, which costs more
    than that does.
    """

    def has_instigators_table(self) -> bool:
        """Return whether there is a table of today's kind for the state of sensors."""
        return self._is_there("instigators", super().has_instigators_table)

    def has_secondary_index_table(self) -> bool:
        """Return whether there is a table for what was migrated."""
        return self._is_there("secondary_indexes", super().has_secondary_index_table)

    def has_built_index(self, migration_name: str) -> bool:
        """Return whether a migration was made."""
        return self._is_there(migration_name, partial(super().has_built_index, migration_name))

    def _has_instigators_table(self, conn: Connection) -> bool:
        return self._is_there("instigators", partial(super()._has_instigators_table, conn))


class PooledPostgresEventLogStorage(_Pooled, PostgresEventLogStorage):
    """Events of runs and assets."""

    def __init__(self, postgres_url: str, create_tables: bool, token_provider: PgTokenProvider | None) -> None:
        self._of_thread = threading.local()
        super().__init__(postgres_url, create_tables, token_provider)

    def has_table(self, table_name: str) -> bool:
        """Return whether there is a table: storages made for each tick would look again."""
        return self._is_there(table_name, partial(super().has_table, table_name))

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; that of an asset together with its tags and the asset's row, or not at all."""
        if event.dagster_event is None or event.dagster_event.asset_key is None:
            super().store_event(event)
            return
        with self._one_transaction([event]):
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events with their tags, all or none.

        The planned materialisations of a run, one for each partition and asset, are one statement: Dagster stores them
        one by one, before it queues the run. Other events are stored by Dagster's statements.
        """
        if any(event.dagster_event_type is not DagsterEventType.ASSET_MATERIALIZATION_PLANNED for event in events):
            with self._one_transaction(events):
                super().store_event_batch(events)
            return
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(self.prepare_insert_event_batch(events))
        # An asset's row is made from its last event: the others would only be overwritten.
        for event in {event.get_dagster_event().asset_key: event for event in events}.values():
            self.store_asset_event(event, 0)  # the row does not keep the id of a planned event

    @contextmanager
    def _one_transaction(self, events: Sequence[EventLogEntry]) -> Iterator[None]:
        """Have all that this thread asks for until the end on one connection, which Dagster checks out for each.

        Events of an asset become visible in the order of their ids, also those of several processes: Dagster asks for
        what came after the last that it has seen, and would never see one that came later with a lower id.
        """
        keys = {event.get_dagster_event().asset_key for event in events} - {None}
        with super()._connect() as connection, connection.execution_options(isolation_level="READ COMMITTED").begin():
            for key in sorted(map(str, keys)):
                connection.execute(select(func.pg_advisory_xact_lock(ASSET_LOCKS, func.hashtext(key))))
            self._of_thread.connection = connection
            try:
                yield
            finally:
                self._of_thread.connection = None

    def _connect(self) -> AbstractContextManager[Connection]:
        connection = getattr(self._of_thread, "connection", None)
        return super()._connect() if connection is None else nullcontext(connection)


class PooledPostgresStorage(DagsterPostgresStorage):
    """`storage` in `dagster.yaml`: `custom`, with the configuration of Dagster's own `postgres`."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        self.postgres_url = postgres_url
        self.should_autocreate_tables = should_autocreate_tables
        self._inst_data = inst_data
        # Tables that this process has seen are not looked up again.
        create = should_autocreate_tables and postgres_url not in _with_tables
        self._run_storage = PooledPostgresRunStorage(postgres_url, create, token_provider)
        self._event_log_storage = PooledPostgresEventLogStorage(postgres_url, create, token_provider)
        self._schedule_storage = PooledPostgresScheduleStorage(postgres_url, create, token_provider)
        _with_tables.add(postgres_url)
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Return the storage that `dagster.yaml` describes."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )
