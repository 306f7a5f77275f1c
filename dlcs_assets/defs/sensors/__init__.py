"""The sensors of the Dagster project."""
