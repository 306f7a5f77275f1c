from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    func,
    inspect,
    select,
    text,
)

from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger import schema_version as version
from dlcs_assets.ledger import tables as schema
from dlcs_assets.ledger.engine import UnusableLedgerError, make_engine

VERSIONS = sorted(path.name[1:5] for path in (version.MIGRATIONS / "versions").glob("v*.py"))
SAMPLES: dict[type, Any] = {
    BigInteger: 2**40,
    Boolean: True,
    DateTime: datetime(2026, 5, 4, 12, 0),  # noqa: DTZ001 (as the tables have it)
    Integer: 1,
    JSON: {"a": 1},
    LargeBinary: b"x",
    String: "x",
    Text: "x",
}
# Of columns that hold one of several words, and of those that depend on each other.
VALID: dict[str, Any] = {
    "image_id": "2/1/x",
    "state": "superseded",
    "lane": "ingest",
    "stage": "jp2",
    "error_stage": "jp2",
    "failure_stage": "jp2",
    "outcome": "converted",
    "kind": "jp2",
    "result": "failed",
}
VALID_IN: dict[str, dict[str, Any]] = {
    "requests": {"chunk_id": None, "is_current": False},
    "messages": {"state": "accepted"},
}


@pytest.fixture
def url(empty_url: str) -> str:
    return empty_url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Connections to the ledger's database without the ledger."""
    made = make_engine(url)
    yield made
    made.dispose()


def fill(connection: Connection) -> None:
    """Write a row into every table, with a value in every column, as the tables are now."""
    tables = MetaData()
    tables.reflect(connection)
    for table in tables.sorted_tables:
        if table.name != version.VERSION_TABLE:
            values = {column.name: SAMPLES[type(column.type.as_generic())] for column in table.columns}
            valid = VALID | VALID_IN.get(table.name, {})
            values |= {name: value for name, value in valid.items() if name in values}
            connection.execute(table.insert().values(values))


def rows(connection: Connection) -> dict[str, int]:
    there = set(inspect(connection).get_table_names())
    tables = [table for table in schema.metadata.sorted_tables if table.name in there]
    return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"version_table": version.VERSION_TABLE})
    found: list[Any] = compare_metadata(context, schema.metadata)
    return found


def set_version(engine: Engine, number: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {version.VERSION_TABLE} SET version_num = '{number}'"))


def test_versions_are_numbered_without_a_gap_up_to_todays() -> None:
    assert [int(number) for number in VERSIONS] == [*range(1, len(VERSIONS) + 1)]
    assert VERSIONS[-1] == schema.SCHEMA_VERSION


def test_a_new_ledger_has_the_tables_that_the_code_expects(url: str, engine: Engine) -> None:
    Ledger(url).close()
    with engine.connect() as connection:
        assert version.is_current(connection)
        assert differences(connection) == []


@pytest.mark.parametrize("number", VERSIONS)
def test_a_ledger_of_any_version_is_upgraded_with_its_rows(url: str, engine: Engine, number: str) -> None:
    """Afterwards its tables are as the code expects them, and no row is lost."""
    with engine.begin() as connection:
        version.upgrade(connection, number)
        assert version.found_version(connection) == number
        fill(connection)
        before = rows(connection)
    Ledger(url).close()
    with engine.connect() as connection:
        assert version.is_current(connection)
        assert differences(connection) == []
        assert {name: count for name, count in rows(connection).items() if name in before} == before
    assert set(before.values()) == {1}


def test_a_step_that_fails_leaves_nothing_of_itself(url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start tries again, which must not find half of the tables there."""

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    with engine.begin() as connection:
        version.upgrade(connection, VERSIONS[0])
    with monkeypatch.context() as patch:
        patch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
        with pytest.raises(RuntimeError, match="the disk is full"):
            Ledger(url)
    with engine.connect() as connection:
        assert version.found_version(connection) == VERSIONS[0]
    Ledger(url).close()
    with engine.connect() as connection:
        assert version.is_current(connection)


def test_a_ledger_of_a_newer_version_is_refused(url: str, engine: Engine) -> None:
    """Older code must not write to tables that it does not know; both versions are named."""
    Ledger(url).close()
    set_version(engine, "0999")
    with pytest.raises(UnusableLedgerError, match=rf"are of version 0999, .* up to {schema.SCHEMA_VERSION}\. Upgrade"):
        Ledger(url)


def test_a_database_that_is_not_a_ledger_is_not_changed(url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE images (name TEXT)"))
    with pytest.raises(UnusableLedgerError, match="it holds a table images, but not the ledger's version"):
        Ledger(url)


def test_the_ledger_can_share_a_database_with_dagster(url: str, engine: Engine) -> None:
    """Dagster's own storage calls its version alembic_version: that one must not be read or changed."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('7e2f3204cf8e')"))
    Ledger(url).close()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "7e2f3204cf8e"
        assert version.is_current(connection)


def test_a_ledger_that_is_up_to_date_is_opened_without_alembic(url: str) -> None:
    """It is opened by every command and every run, and Alembic takes longer to import than all of it."""
    Ledger(url).close()
    script = f"import sys; from dlcs_assets.ledger import Ledger; Ledger({url!r}); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
