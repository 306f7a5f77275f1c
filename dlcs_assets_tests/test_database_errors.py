"""What a database's errors show, on real databases: names of tables, columns and constraints, and no value."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Connection, text

from dlcs_assets.instance.launcher import ForkingRunLauncher
from dlcs_assets.ledger.engine import make_engine
from dlcs_testing import postgresql
from dlcs_testing.instances import instance_with, pooled_storage

Connect: TypeAlias = Callable[[], AbstractContextManager[Connection]]

SECRET = "s3cret-value"
# Statements that fail, and what their errors still say.
FAILING = {
    "a row that is there": (
        "INSERT INTO kept VALUES ('1', :secret)",
        r"constraint failed: kept\.(id|origin)|kept_(pkey|origin_key)",
    ),
    "a value that is there": ("INSERT INTO kept VALUES ('2', 'taken')", r"kept\.origin|kept_origin_key"),
    "a value that is missing": ("INSERT INTO kept (origin) VALUES (:secret)", r'kept\.id|column "id"'),
    "a value that is forbidden": ("INSERT INTO kept VALUES (:secret, '" + "x" * 99 + "')", "short"),
    "a table that is missing": ("INSERT INTO gone VALUES (:secret)", "gone"),
    "a broken statement": ("INSERTED kept VALUES (:secret)", "syntax error"),
    "a value that is no number": (
        "SELECT CAST(:secret AS integer) / json(:secret)",
        "does not fit|malformed JSON|json",
    ),
}


@contextmanager
def of_ledger(url: str) -> Iterator[Connect]:
    engine = make_engine(url)
    yield engine.connect
    engine.dispose()


@contextmanager
def of_dagster(storage: dict[str, Any], folder: Path) -> Iterator[Connect]:
    ForkingRunLauncher()  # dagster.yaml names it, so that every process of Dagster makes it
    with instance_with(storage, folder) as instance:
        yield instance.run_storage.connect  # type: ignore[attr-defined]  # of SqlRunStorage


@pytest.fixture(params=["sqlite", "postgresql", "Dagster on sqlite", "Dagster on postgresql"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    kind = str(request.param)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if kind.endswith("postgresql"):
        server: postgresql.Server = request.getfixturevalue("postgresql_server")
        url = server.new_database()
    storage = pooled_storage(url) if kind.endswith("postgresql") else {"sqlite": {"base_dir": str(tmp_path)}}
    opened = of_dagster(storage, tmp_path) if kind.startswith("Dagster") else of_ledger(url)
    with opened as how:
        with how() as connection:
            connection.execute(
                text(
                    "CREATE TABLE kept (id varchar(20) PRIMARY KEY NOT NULL, origin varchar(200) UNIQUE,"
                    " CONSTRAINT short CHECK (length(origin) < 90))"
                )
            )
            connection.execute(text(f"INSERT INTO kept VALUES ('1', '{SECRET}'), ('0', 'taken')"))
            connection.commit()
        yield how


def test_an_error_names_the_table_and_no_value(connect: Connect) -> None:
    """Neither what was given nor what the row has: PostgreSQL quotes both, in its DETAIL and LINE."""
    for failing, (statement, said) in FAILING.items():
        with pytest.raises(Exception) as caught, connect() as connection:  # noqa: PT011 (each database's own)
            connection.execute(text(statement), {"secret": SECRET} if ":secret" in statement else {})
        shown = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(caught.value)
        assert SECRET not in shown, failing
        assert "taken" not in shown.replace(statement, ""), failing
        assert re.search(said, str(caught.value)), failing


def test_a_log_of_statements_shows_no_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    engine.echo = True
    with engine.connect() as connection:
        connection.execute(text("SELECT :secret"), {"secret": SECRET})
    engine.dispose()
    assert "SELECT ?" in caplog.text
    assert SECRET not in caplog.text
