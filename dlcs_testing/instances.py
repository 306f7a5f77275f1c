"""Dagster instances whose history is Dagster's own or ours, on files and on a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

SQLITE = {"module": "dlcs_assets.instance.sqlite", "class": "SqliteHistory"}
POSTGRES = {"module": "dlcs_assets.instance.postgres", "class": "PostgresHistory"}


def ours_in(folder: Path) -> dict[str, Any]:
    return {"custom": {**SQLITE, "config": {"base_dir": str(folder)}}}


def ours_at(url: str) -> dict[str, Any]:
    return {"custom": {**POSTGRES, "config": {"postgres_url": with_driver(url)}}}


def dagsters_in(folder: Path) -> dict[str, Any]:
    return {"sqlite": {"base_dir": str(folder)}}


def dagsters_at(url: str) -> dict[str, Any]:
    return {"postgres": {"postgres_url": with_driver(url)}}


def with_driver(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg2:")


@contextmanager
def instance_with(storage: Mapping[str, Any], folder: Path) -> Iterator[dg.DagsterInstance]:
    folder.mkdir(exist_ok=True)
    with dg.instance_for_test(temp_dir=str(folder), overrides={"storage": dict(storage)}) as instance:
        yield instance
