"""Dagster instances on PostgreSQL, with Dagster's own storage or the pooled one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

POOLED = {"module": "dlcs_assets.instance.postgres", "class": "PooledPostgresStorage"}


def pooled_storage(url: str) -> dict[str, Any]:
    return {"custom": {**POOLED, "config": {"postgres_url": with_driver(url)}}}


def dagster_storage(url: str) -> dict[str, Any]:
    return {"postgres": {"postgres_url": with_driver(url)}}


def with_driver(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg2:")


@contextmanager
def instance_with(storage: Mapping[str, Any], folder: Path) -> Iterator[dg.DagsterInstance]:
    folder.mkdir(exist_ok=True)
    with dg.instance_for_test(temp_dir=str(folder), overrides={"storage": dict(storage)}) as instance:
        yield instance
