"""All of Dagster: assets, checks, jobs, sensors and schedules, as a thin layer over the other packages."""
