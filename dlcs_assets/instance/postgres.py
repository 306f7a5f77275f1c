"""Dagster's history in PostgreSQL, as Dagster keeps it, without connecting anew for each statement.

Dagster 1.13 connects for every statement, two or three times for an event, and with TLS and a password each time takes
milliseconds of both sides. Only its webserver keeps connections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from dagster._core.events.log import EventLogEntry
from dagster._serdes.config_class import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
from sqlalchemy.engine import Engine

from dlcs_assets.instance.engines import Engines
from dlcs_assets.instance.planned import are_planned, last_of_each_asset
from dlcs_assets.instance.settled import Settled

if TYPE_CHECKING:
    from dagster_postgres.auth import PgTokenProvider

KEPT_CONNECTIONS: Final = 4  # open while nothing happens, in each process; more are opened when they are needed
RECYCLE_SECONDS: Final = 300  # less than firewalls let an idle connection live

engines = Engines()


def _engine(url: str, token_provider: PgTokenProvider | None) -> Engine:
    def make() -> Engine:
        return create_pg_engine(
            url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=KEPT_CONNECTIONS,
            max_overflow=-1,
            pool_recycle=RECYCLE_SECONDS,
            pool_pre_ping=True,  # the server may have been restarted
        )

    return engines.of(url, make)


class _Kept:
    """Has one of Dagster's storages use the connections that the process keeps."""

    def __init__(self, postgres_url: str, create_tables: bool, token_provider: PgTokenProvider | None) -> None:
        super().__init__(postgres_url, create_tables, token_provider=token_provider)  # type: ignore[call-arg]
        self._engine = _engine(postgres_url, token_provider)


class Runs(_Kept, PostgresRunStorage):
    """Runs and their tags."""


class Ticks(_Kept, Settled, PostgresScheduleStorage):
    """Sensors and schedules, and what each of their ticks did."""


class Events(_Kept, PostgresEventLogStorage):
    """Events of runs and assets."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store what a run is to make in one statement; other events as Dagster does."""
        if not are_planned(events):
            super().store_event_batch(events)
            return
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(self.prepare_insert_event_batch(events))
        for event in last_of_each_asset(events):
            self.store_asset_event(event, 0)  # of a planned event the asset's row does not have the number


class PostgresHistory(DagsterPostgresStorage):
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
        # What this process has seen in place it does not look for again.
        create = should_autocreate_tables and not engines.is_ready(postgres_url)
        self._run_storage = Runs(postgres_url, create, token_provider)
        self._event_log_storage = Events(postgres_url, create, token_provider)
        self._schedule_storage = Ticks(postgres_url, create, token_provider)
        engines.note_ready(postgres_url)
        super(DagsterPostgresStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make it from what `dagster.yaml` says."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )
