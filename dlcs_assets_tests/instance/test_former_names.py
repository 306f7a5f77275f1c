"""An operator's own `dagster.yaml` that names modules of before is refused, with the lines to write instead."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped] # it has no types

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


def refusal(config: dict[str, Any], folder: Path) -> str:
    (folder / "dagster.yaml").write_text(yaml.safe_dump(config))
    with (
        pytest.raises(ImportError) as refused,
        dg.DagsterInstance.from_config(str(folder)) as instance,
    ):
        # Dagster loads what dagster.yaml names when it is first used.
        _ = instance.run_launcher, instance.run_coordinator, instance.event_log_storage
    return str(refused.value)


def advice(message: str) -> list[dict[str, Any]]:
    """Return the settings that a message tells to write."""
    blocks = re.findall(r"^\w+:\n(?: .*\n)+", message, re.MULTILINE)
    return [yaml.safe_load(block) for block in blocks]


@pytest.mark.parametrize("name", FORMER)
def test_a_former_name_is_refused_with_what_to_write(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    message = refusal(FORMER[name], tmp_path)
    assert set(FORMER[name]) == {key for settings in advice(message) for key in settings}


@pytest.mark.parametrize("name", ["sqlite", "launcher", "queue"])
def test_an_instance_with_the_advised_lines_starts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    settings = advice(refusal(FORMER[name], tmp_path))[-1]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_runs_count() == 0
        assert instance.run_launcher
        assert instance.run_coordinator


def test_the_advised_storage_for_postgresql_is_there(tmp_path: Path) -> None:
    custom = advice(refusal(FORMER["postgresql"], tmp_path))[0]["storage"]["custom"]
    assert hasattr(importlib.import_module(custom["module"]), custom["class"])
