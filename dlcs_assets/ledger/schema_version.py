"""The version of the ledger's tables: whether they are today's, and their migration if they are older."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from dlcs_assets.ledger import tables as schema
from dlcs_assets.ledger.engine import UnusableLedgerError, shown

MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Not Alembic's usual name: the ledger may share a database with Dagster's tables, which use that.
VERSION_TABLE: Final = "ledger_version"
NEWEST: Final = "head"

_alembic = threading.Lock()  # Alembic's `op` and `context` are one for the whole process
_version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def is_current(connection: Connection) -> bool:
    """Return whether the tables are of today's version. It does without Alembic, which takes a while to import."""
    return found_version(connection) == schema.SCHEMA_VERSION


def found_version(connection: Connection) -> str | None:
    """Return the version of the tables; None if there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(_version.c.version_num))


def upgrade(connection: Connection, to: str = NEWEST) -> None:
    """Bring the tables to a version, within the caller's transaction, from whichever earlier one or from nothing.

    Raises UnusableLedgerError for tables that are newer, or not the ledger's.
    """
    found = found_version(connection)
    if found == schema.SCHEMA_VERSION:  # another process was first
        return
    if found is None:
        _check_empty(connection)
        if to == NEWEST:
            _create(connection)
            return
    elif found > schema.SCHEMA_VERSION:
        raise UnusableLedgerError(
            shown(connection.engine),
            f"its tables are of version {found}, and this software knows versions up to {schema.SCHEMA_VERSION}. "
            "Upgrade dlcs-assets",
        )
    _migrate(connection, to)
    _check_foreign_keys(connection)


def _check_empty(connection: Connection) -> None:
    taken = sorted(set(schema.metadata.tables) & set(inspect(connection).get_table_names()))
    if taken:
        raise UnusableLedgerError(
            shown(connection.engine),
            f"it holds a table {taken[0]}, but not the ledger's version. Give the ledger a database of its own",
        )


def _create(connection: Connection) -> None:
    """Create the tables as they are today; a test compares them with what the migrations make, which takes longer."""
    schema.metadata.create_all(connection)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=schema.SCHEMA_VERSION))


def _check_foreign_keys(connection: Connection) -> None:
    """Refuse rows without the rows that they refer to. PostgreSQL has done so by itself, when the key was added."""
    if connection.dialect.name == "sqlite":
        broken = {(row[0], row[2]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")}
        if broken:
            names = ", ".join(f"rows of {table} refer to missing rows of {other}" for table, other in sorted(broken))
            raise UnusableLedgerError(shown(connection.engine), f"{names}. Nothing was changed")


def _migrate(connection: Connection, to: str) -> None:
    from alembic import command  # noqa: PLC0415 (needed only when the version differs)
    from alembic.config import Config  # noqa: PLC0415 (see above)

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _alembic:
        command.upgrade(config, to)
