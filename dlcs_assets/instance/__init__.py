"""Dagster's history, as this project keeps it: Dagster's own storages, told to do less for the same rows.

Files and tables are Dagster's, so either storage reads what the other has written, and going back is a line of
`dagster.yaml`. What it saves is measured in `bench/`.
"""
