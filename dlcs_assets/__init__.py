"""Image ingest for the Digital Library Cloud Services, as a Dagster project."""
