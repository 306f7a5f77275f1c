"""The rules of ingest: pure functions and records, without I/O and without Dagster."""
