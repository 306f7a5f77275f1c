"""How often PostgreSQL is connected to, and what is written in one statement: the reason for a storage of our own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, Pool, create_engine

from dlcs_assets_tests.instance.run_over_partitions import ASSET, KEYS, run_all, shown
from dlcs_testing import postgresql
from dlcs_testing.instances import instance_with, pooled_storage, with_driver
from dlcs_testing.listening import noted
from dlcs_testing.processes import eventually

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


@pytest.fixture
def storage(postgresql_server: postgresql.Server) -> dict[str, Any]:
    return pooled_storage(postgresql_server.new_database())


def test_many_events_need_no_more_connections_than_few(storage: dict[str, Any], tmp_path: Path) -> None:
    with instance_with(storage, tmp_path / "instance") as instance:
        run_all(instance)
        with noted(Pool, "connect") as connected:
            run_all(instance)
    assert len(connected) <= 2


def test_a_second_instance_shares_the_connections_of_the_first(storage: dict[str, Any], tmp_path: Path) -> None:
    """The code server makes one for each tick of a sensor."""
    with instance_with(storage, tmp_path / "one") as instance:
        run_all(instance)
        with noted(Pool, "connect") as connected, instance_with(storage, tmp_path / "other") as other:
            assert other.get_runs_count() == 1
    assert connected == []


def test_tables_that_were_seen_are_not_looked_for_again(storage: dict[str, Any], tmp_path: Path) -> None:
    """Dagster itself looks at each reading of a sensor's state, which costs more than to read it."""

    def work(instance: dg.DagsterInstance) -> None:
        instance.all_instigator_state()
        assert instance.schedule_storage is not None
        assert instance.schedule_storage.supports_batch_queries
        instance.event_log_storage.get_pool_limits()

    with instance_with(storage, tmp_path / "one") as instance:
        work(instance)
        with noted(Engine, "before_cursor_execute") as statements:
            work(instance)
    assert [text for text in statements if "pg_catalog" in text or "secondary_indexes" in text] == []


def test_planned_events_of_a_run_are_one_statement(
    storage: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inserts(batch_size: str) -> int:
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch_size)
        with noted(Engine, "before_cursor_execute") as statements:
            run_all(instance)
        return sum(statement.startswith("INSERT INTO event_logs") for statement in statements)

    with instance_with(storage, tmp_path / "instance") as instance:
        assert inserts("0") - inserts("300") == len(KEYS) - 1


def test_more_threads_may_write_than_connections_are_kept(storage: dict[str, Any], tmp_path: Path) -> None:
    with instance_with(storage, tmp_path / "instance") as instance:
        instance.add_dynamic_partitions("pages", KEYS)

        def report(key: str) -> None:
            for _ in range(5):
                instance.report_runless_asset_event(dg.AssetMaterialization(ASSET, partition=key))

        threads = [threading.Thread(target=report, args=[key]) for key in KEYS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = instance.fetch_materializations(ASSET, limit=1000).records
        assert len(stored) == 5 * len(KEYS)
        assert set(instance.get_materialized_partitions(ASSET)) == set(KEYS)


def test_events_of_an_asset_appear_in_the_order_of_their_ids(
    postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    """Dagster asks for what came after the last event that it has seen: it would never see one with a lower id."""
    url = postgresql_server.new_database()
    with instance_with(pooled_storage(url), tmp_path / "instance") as instance:
        instance.add_dynamic_partitions("pages", KEYS)
        engine = create_engine(with_driver(url))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$; "
                "CREATE TRIGGER wait BEFORE INSERT ON asset_event_tags FOR EACH ROW "
                "WHEN (NEW.value = 'slow') EXECUTE FUNCTION wait()"
            )

        def report(key: str, speed: str) -> None:
            tags = {"dagster/data_version": speed}
            instance.report_runless_asset_event(dg.AssetMaterialization(ASSET, partition=key, tags=tags))

        def is_waiting() -> bool:
            with engine.connect() as connection:
                return bool(connection.exec_driver_sql(WAITING).scalar())

        first = threading.Thread(target=report, args=[KEYS[0], "slow"])
        first.start()
        assert eventually(is_waiting)
        report(KEYS[1], "fast")
        seen = [record.partition_key for record in instance.fetch_materializations(ASSET, limit=2).records]
        first.join()
        engine.dispose()
    assert seen == [KEYS[1], KEYS[0]]


def test_a_server_that_closed_its_connections_is_reconnected_to(
    postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    url = postgresql_server.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    with instance_with(pooled_storage(url), tmp_path / "instance") as instance:
        run_id = run_all(instance)
        before = shown(instance, run_id)
        ended = postgresql_server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert ended
        assert shown(instance, run_id) == before
