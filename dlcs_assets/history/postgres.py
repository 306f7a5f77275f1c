"""The former name of the pooled storage in PostgreSQL."""

import logging

from dlcs_assets.instance.postgres import PooledPostgresStorage as PostgresHistory

__all__ = ["PostgresHistory"]

logging.getLogger(__name__).warning(
    "dagster.yaml names dlcs_assets.history.postgres, class PostgresHistory. Write instead, with the same config: "
    "module: dlcs_assets.instance.postgres, class: PooledPostgresStorage"
)
