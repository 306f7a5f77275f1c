"""A run's process is killed in the middle of its images: all of them end done without help."""

from __future__ import annotations

import pytest

from dlcs_assets.domain.stages import STAGES
from dlcs_assets_tests.e2e.killing import (
    appetiser_held_up,
    check_recovered,
    images_of,
    kill_in_the_middle,
    send_images,
)
from dlcs_stack.stack import RunningStack
from dlcs_testing.dagster_api import Run
from dlcs_testing.whole_system import System

pytestmark = pytest.mark.e2e

REQUESTS = "SELECT image_id, lane, state FROM requests WHERE customer = ? ORDER BY image_id, created_at"
LARGEST_CHUNK = """SELECT run_id FROM chunks JOIN chunk_images ON chunk_id = id
    WHERE customer = ? AND run_id IS NOT NULL GROUP BY id HAVING count(*) > 5"""


def run_of_all(system: System, customer: int) -> Run | None:
    """Return the run of the chunk that has all images."""
    found = system.rows(LARGEST_CHUNK, customer)
    return system.dagster.run(found[0][0]) if found else None


def test_a_killed_run_leaves_every_image_done_once(stack: RunningStack, system: System, customer: int) -> None:
    images = images_of(customer)
    with appetiser_held_up(stack):
        send_images(system, images)
        killed = kill_in_the_middle(stack, system, lambda: run_of_all(system, customer))
    check_recovered(stack, system, killed, images)
    requests = system.rows(REQUESTS, customer)
    assert [(image, state) for image, _, state in requests] == [(image, "done") for image in images]


def test_a_killed_run_from_the_ui_leaves_every_image_done(stack: RunningStack, system: System, customer: int) -> None:
    images = images_of(customer)
    send_images(system, images)
    system.await_end(images)
    system.await_materialized(f"@{customer}/", len(images))

    keys = [key for key in system.dagster.partition_keys() if key.startswith(f"@{customer}/")]
    ends = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    with appetiser_held_up(stack):
        launched = system.dagster.launch_run(STAGES, ends)
        killed = kill_in_the_middle(stack, system, lambda: system.dagster.run(launched))
    check_recovered(stack, system, killed, images)
    # One request for each time that one was made: the message, and the launch.
    asked = [(image, state) for image, _, state in system.rows(REQUESTS, customer)]
    assert asked == [(image, "done") for image in images for _ in range(2)]
