"""The former name of a storage in SQLite: Dagster's own reads the same files."""

import logging

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage as SqliteHistory

__all__ = ["SqliteHistory"]

logging.getLogger(__name__).warning(
    "dagster.yaml names dlcs_assets.history.sqlite, class SqliteHistory. Write instead: "
    "storage: {sqlite: {base_dir: {env: DAGSTER_HOME}}}"
)
