"""Jobs of the Dagster project: each is a module with one function that returns the job for some settings."""
