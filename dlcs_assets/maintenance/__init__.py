"""The nightly job that keeps Dagster and the ledger from growing without end."""
