"""The former place of two storages of Dagster: says what to write in `dagster.yaml` instead."""

raise ImportError("""\
dagster.yaml names a storage below dlcs_assets.history, which is no longer there. Nothing that is stored needs a change.

For PostgreSQL (dlcs_assets.history.postgres, class PostgresHistory), with the same config, write:

storage:
  custom:
    module: dlcs_assets.instance.postgres
    class: PooledPostgresStorage

For SQLite (dlcs_assets.history.sqlite, class SqliteHistory), with the same base_dir, write:

storage:
  sqlite:
    base_dir: { env: DAGSTER_HOME }
""")
