"""What images cost the ledger: batches by the second, and a few statements for each batch, however many images.

The time of a run depends on the machine, and so does how many batches there are. What they come to for each image is
measured in `bench/`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from dlcs_assets.ingest.guard import READ_EVERY_SECONDS, TRUSTED_FOR_SECONDS
from dlcs_assets.ledger.writer import LINGER_SECONDS
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing import postgresql
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import drawing, encoded

IMAGES = 30
STATEMENTS_OF_A_BATCH = 11
# What a chunk costs apart from its images: intake, dispatch, claim, reports and release.
TRANSACTIONS_OF_A_CHUNK, STATEMENTS_OF_A_CHUNK = 14, 110


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.new_database()


@contextmanager
def counted(system: System) -> Iterator[Counter[str]]:
    """Count what the ledger's database is asked."""
    engine, asked = system.ledger._database._engine, Counter[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked["statements"] += 1
        asked["writes"] += statement.startswith("BEGIN IMMEDIATE") or "pg_advisory_xact_lock" in statement
        asked["readings of the claims"] += "FROM claims" in statement and "claims.token" in statement

    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


def test_the_ledger_is_asked_by_the_second_not_by_the_image(
    services: RunningStack, ledger_url: str, tmp_path: Path
) -> None:
    """Each commit and each check of a claim by itself would be five transactions and 74 statements an image."""
    with running_system(services, tmp_path, ledger_url=ledger_url, chunks_in_flight=1) as system:
        url = system.serve("page.jpg", encoded(drawing(48, 36, seed=1)))
        system.send(*(full_message(f"2/1/{number:02}", url, "iiif-img,thumbs") for number in range(IMAGES)))
        began = time.monotonic()
        with counted(system) as asked:
            while system.tick("sqs_ingest").runs:
                pass
        seconds = time.monotonic() - began
        assert set(system.states().values()) == {"done"}
        assert len(system.states()) == IMAGES
    groups = IMAGES / system.settings.images_in_flight + 1  # of images that are begun together
    batches = seconds / LINGER_SECONDS + groups
    readings = seconds / min(READ_EVERY_SECONDS, TRUSTED_FOR_SECONDS) + 1
    beats = seconds / system.settings.heartbeat.total_seconds() + 1
    chunks = len(system.runs)
    assert asked["writes"] <= TRANSACTIONS_OF_A_CHUNK * chunks + batches + groups + 2 * beats
    assert asked["readings of the claims"] <= readings + batches + 5 * chunks
    most = STATEMENTS_OF_A_CHUNK * chunks + STATEMENTS_OF_A_BATCH * batches + 2 * readings + 6 * beats
    assert asked["statements"] <= most
