"""How often the history is opened, and what is written at once: the reason why it is not Dagster's own."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from sqlalchemy import Engine, Pool, create_engine, event

from dlcs_assets.instance.engines import KEPT, Engines
from dlcs_assets_tests.instance.runs import ASSET, KEYS, run_all, told
from dlcs_testing import postgresql
from dlcs_testing.instances import instance_with, ours_at, ours_in

CATALOGUE = re.compile(r"sqlite_master|pg_class|secondary_indexes")  # where a database says which tables there are


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "sqlite":
        return ours_in(tmp_path / "history")
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return ours_at(server.new_database())


@contextmanager
def counted(target: Any, name: str) -> Iterator[list[str]]:
    """Note what happens to all engines; of statements, what they say."""
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(" ".join(argument for argument in arguments if isinstance(argument, str)))

    event.listen(target, name, note)
    try:
        yield seen
    finally:
        event.remove(target, name, note)


def test_a_history_is_opened_as_often_for_many_events_as_for_few(storage: dict[str, Any], tmp_path: Path) -> None:
    with instance_with(storage, tmp_path / "instance") as instance:
        run_all(instance)
        with counted(Pool, "connect") as opened:
            run_all(instance)
    assert len(opened) <= 2  # the file of the run


def test_a_new_instance_reuses_open_connections(storage: dict[str, Any], tmp_path: Path) -> None:
    with instance_with(storage, tmp_path / "one") as instance:
        run_all(instance)
        with counted(Pool, "connect") as opened, instance_with(storage, tmp_path / "other") as other:
            assert other.get_runs_count() == 1
    assert opened == []


def test_planned_materializations_of_a_run_are_written_at_once(
    storage: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(size: str) -> int:
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", size)
        with counted(Engine, "before_cursor_execute") as statements:
            run_all(instance)
        return sum(statement.startswith("INSERT INTO event_logs") for statement in statements)

    with instance_with(storage, tmp_path / "instance") as instance:
        of_singles, of_batches = written("0"), written("300")
    saved_for_each_file = len(KEYS) - 1
    assert of_singles - of_batches in {saved_for_each_file, 2 * saved_for_each_file}


def test_threads_write_at_the_same_time(storage: dict[str, Any], tmp_path: Path) -> None:
    """More of them than connections are kept."""
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


def test_a_server_that_closed_its_connections_is_reconnected(
    postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    """After a restart of PostgreSQL the next query must work, although its pooled connection is dead."""
    url = postgresql_server.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    with instance_with(ours_at(url), tmp_path / "instance") as instance:
        run_id = run_all(instance)
        before = told(instance, run_id)
        ended = postgresql_server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        assert ended
        assert told(instance, run_id) == before


def test_files_of_runs_that_are_not_in_use_are_closed() -> None:
    engines = Engines()
    made = [engines.of(f"sqlite:///{number}", lambda: create_engine("sqlite://")) for number in range(KEPT + 1)]
    again = [engines.of(f"sqlite:///{number}", lambda: create_engine("sqlite://")) for number in (KEPT, 1, 0)]
    assert again[:2] == [made[KEPT], made[1]]
    assert again[2] is not made[0]


def test_the_catalogue_of_a_history_is_read_once(storage: dict[str, Any], tmp_path: Path) -> None:
    """Dagster looks in each tick whether an old history lacks tables that newer ones have."""
    with instance_with(storage, tmp_path / "instance") as instance:
        state = instance.add_instigator_state(of_a_sensor(InstigatorStatus.RUNNING))
        with counted(Engine, "before_cursor_execute") as statements:
            instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
            found = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    assert found is not None
    assert found.status is InstigatorStatus.STOPPED
    assert [statement for statement in statements if CATALOGUE.search(statement)] == []
    assert any("instigators" in statement for statement in statements)


def of_a_sensor(status: InstigatorStatus) -> InstigatorState:
    code = RegisteredCodeLocationOrigin("location")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, "repository"), "sensor")
    return InstigatorState(origin, InstigatorType.SENSOR, status)
