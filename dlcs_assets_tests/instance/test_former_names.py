"""An operator's own `dagster.yaml` that names modules of before still works, and the log says what to write instead."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # it has no types

from dlcs_testing.postgresql import Server

FORMER: dict[str, dict[str, Any]] = {
    "postgresql": {
        "storage": {
            "custom": {
                "module": "dlcs_assets.history.postgres",
                "class": "PostgresHistory",
                "config": {"postgres_url": "postgresql://x"},
            }
        }
    },
    "sqlite": {
        "storage": {
            "custom": {
                "module": "dlcs_assets.history.sqlite",
                "class": "SqliteHistory",
                "config": {"base_dir": {"env": "DAGSTER_HOME"}},
            }
        }
    },
    "launcher": {"run_launcher": {"module": "dlcs_assets.launcher", "class": "ForkingRunLauncher"}},
    "queue": {
        "run_coordinator": {
            "module": "dlcs_assets.run_queue",
            "class": "PromptRunQueue",
            "config": {"dequeue_use_threads": True},
        }
    },
}


# In a process of its own: modules warn when they are imported, which happens once.
LOAD = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    print(type(instance.run_launcher).__name__, type(instance.run_coordinator).__name__, instance.get_runs_count())
"""


def load(config: dict[str, Any], home: Path) -> subprocess.CompletedProcess[str]:
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    environment = {"PATH": "", "DAGSTER_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["sqlite", "launcher", "queue"])
def test_a_former_name_works_and_is_warned_of(name: str, tmp_path: Path) -> None:
    loaded = load(FORMER[name], tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.endswith(" 0\n")
    assert "Write instead" in loaded.stderr


def test_the_former_storage_for_postgresql_is_the_pooled_one(postgresql_server: Server, tmp_path: Path) -> None:
    config = copy.deepcopy(FORMER["postgresql"])
    config["storage"]["custom"]["config"]["postgres_url"] = postgresql_server.new_database().replace(
        "postgresql:", "postgresql+psycopg2:"
    )
    loaded = load(config, tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    assert "PooledPostgresStorage" in loaded.stderr
