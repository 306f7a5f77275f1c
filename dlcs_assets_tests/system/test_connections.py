"""How often a run connects to Dagster's database, where that is PostgreSQL: with TLS each time takes a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Pool, event

from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing import postgresql
from dlcs_testing.harness import full_message
from dlcs_testing.instances import pooled_storage
from dlcs_testing.pictures import jpeg

FEW, MANY = 2, 20


def test_a_run_does_not_connect_for_each_event(
    services: RunningStack, postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    connected: list[str] = []

    def note(connection: Any, _record: object) -> None:
        connected.append(type(connection).__module__)

    history = pooled_storage(postgresql_server.new_database())
    with running_system(services, tmp_path, history=history) as system:
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
