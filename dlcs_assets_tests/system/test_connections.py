"""What a run asks of Dagster's database, where that is PostgreSQL: with TLS each connection takes a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Pool, create_engine, event

from dlcs_assets.defs import reporting
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing import postgresql
from dlcs_testing.harness import full_message
from dlcs_testing.instances import pooled_storage, with_driver
from dlcs_testing.pictures import jpeg

FEW, MANY = 2, 20


@pytest.fixture(autouse=True)
def _in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "300")


def test_a_run_does_not_connect_for_each_event(
    services: RunningStack, postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    connected: list[str] = []

    def note(connection: Any, _record: object) -> None:
        connected.append(type(connection).__module__)

    history = pooled_storage(postgresql_server.new_database())
    with running_system(services, tmp_path, history=history, chunks_in_flight=1) as system:
        page = system.serve("page.jpg", jpeg(60, 40))

        def connections(customer: int, images: int) -> int:
            system.send(*(full_message(f"2/{customer}/{number}", page, "file") for number in range(images)))
            connected.clear()
            (run,) = system.tick("sqs_ingest").runs
            assert run.is_success
            return sum(name.startswith("psycopg2") for name in connected)

        event.listen(Pool, "connect", note)
        try:
            few, many = connections(1, FEW), connections(2, MANY)
        finally:
            event.remove(Pool, "connect", note)
    assert many <= few


def test_statements_of_a_run_hardly_grow_with_its_images(
    services: RunningStack, postgresql_server: postgresql.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They grow with the batches: one for each asset in a second, or for ninety events. It was 19 for an image."""
    monkeypatch.setattr(reporting, "LONGEST_WAIT_SECONDS", 60)
    asked: list[str] = []

    def note(connection: Any, _cursor: object, statement: str, *_: object) -> None:
        if connection.dialect.name == "postgresql":
            asked.append(statement)

    history = pooled_storage(postgresql_server.new_database())
    with running_system(services, tmp_path, history=history, chunks_in_flight=1) as system:
        page = system.serve("page.jpg", jpeg(60, 40))

        def statements(customer: int, images: int) -> int:
            system.send(*(full_message(f"2/{customer}/{number}", page, "file") for number in range(images)))
            asked.clear()
            (run,) = system.tick("sqs_ingest").runs
            assert run.is_success
            return len(asked)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            few, many = statements(1, FEW), statements(2, MANY)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    assert many - few < MANY - FEW


def test_images_are_done_if_dagster_stores_nothing(
    services: RunningStack, postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    """The ledger has the outcomes, and reconcile reports them once Dagster's database takes them."""
    url = postgresql_server.new_database()
    with running_system(services, tmp_path, history=pooled_storage(url)) as system:
        engine = create_engine(with_driver(url))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "ALTER TABLE event_logs ADD CONSTRAINT no CHECK (dagster_event_type <> 'ASSET_MATERIALIZATION')"
            )
        system.ingest_once("2/1/page", system.serve("page.jpg", jpeg(60, 40)), "file")
        (run,) = system.runs
        assert run.is_success
        assert system.states() == {"2/1/page": "done"}
        assert system.ledger.health.unreported() == 3
        assert system.skip_reason("reconcile") == "3 outcomes refused by Dagster's database"
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE event_logs DROP CONSTRAINT no")
        engine.dispose()
        assert system.skip_reason("reconcile") == "3 outcomes reported to Dagster"
        assert system.partition("2/1/page") == ("materialized",) * 3
        assert system.ledger.health.unreported() == 0


def test_an_outcome_that_dagster_refuses_delays_no_other(
    services: RunningStack, postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    url = postgresql_server.new_database()
    with running_system(services, tmp_path, history=pooled_storage(url)) as system:
        page = system.serve("page.jpg", jpeg(60, 40))
        system.send(*(full_message(f"2/1/{name}", page, "file") for name in "abc"))
        (run,) = system.tick("sqs_ingest").runs
        assert run.is_success
        for name in "abc":
            system.forget_reports(f"2/1/{name}")
        system.instance.wipe_assets([system.catalog.asset(Stage.ORIGINAL)])
        engine = create_engine(with_driver(url))
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE event_logs ADD CHECK (partition <> '@2/1/a') NOT VALID")
        engine.dispose()
        reason = system.skip_reason("reconcile")
        assert reason == "2 outcomes reported to Dagster; 1 outcomes refused by Dagster's database"
        assert system.ledger.health.unreported() == 1
