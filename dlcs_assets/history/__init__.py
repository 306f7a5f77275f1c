"""The former place of two storages of Dagster, for a `dagster.yaml` that still names them."""
