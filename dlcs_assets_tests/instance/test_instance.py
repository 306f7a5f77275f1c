"""The settings in `dagster.yaml`, as Dagster reads them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._daemon.controller import create_daemon_of_type
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from dlcs_assets.domain.stages import Lane

DAGSTER_YAML = Path(__file__).parents[2] / "dagster.yaml"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copy(DAGSTER_YAML, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as loaded:
        yield loaded


@pytest.fixture
def queue(instance: dg.DagsterInstance) -> Any:
    config = instance.get_concurrency_config().run_queue_config
    assert config is not None
    return config


def test_dagster_reads_the_limits_of_the_run_queue_as_intended(queue: Any) -> None:
    """A limit that is misspelt in dagster.yaml would be ignored without an error."""
    limits = {(limit["key"], str(limit.get("value"))): limit["limit"] for limit in queue.tag_concurrency_limits}
    assert queue.max_concurrent_runs == 4
    assert limits == {
        ("dlcs/lane", "{'applyLimitPerUniqueValue': True}"): 3,
        ("dlcs/lane", Lane.BACKFILL.value): 2,
        ("dagster/backfill", "None"): 2,
    }


def test_no_limited_lane_may_take_all_runs(queue: Any) -> None:
    assert max(limit["limit"] for limit in queue.tag_concurrency_limits) < queue.max_concurrent_runs


def test_dagster_itself_retries_no_runs(instance: dg.DagsterInstance) -> None:
    assert not instance.run_retries_enabled


def test_the_daemon_checks_the_queue_every_second(instance: dg.DagsterInstance) -> None:
    daemon = create_daemon_of_type(QueuedRunCoordinatorDaemon.daemon_type(), instance)
    assert isinstance(daemon, QueuedRunCoordinatorDaemon)
    assert daemon.interval_seconds == 1
