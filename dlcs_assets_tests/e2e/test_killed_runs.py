"""A run's process is killed in the middle of its images: all of them end done without help."""

from __future__ import annotations

import pytest

from dlcs_assets.domain.stages import STAGES
from dlcs_assets_tests.e2e.killing import check_recovered, images_of, kill_in_the_middle, send_large_pages
from dlcs_stack.stack import RunningStack
from dlcs_testing.dagster_api import Run
from dlcs_testing.whole_system import System

pytestmark = pytest.mark.e2e

CUSTOMER = 97
REQUESTS = "SELECT image_id, lane, state FROM requests WHERE customer = ? ORDER BY image_id, created_at"
LARGEST_CHUNK = """SELECT run_id FROM chunks JOIN chunk_images ON chunk_id = id
    WHERE customer = ? AND run_id IS NOT NULL GROUP BY id HAVING count(*) > 5"""


@pytest.fixture(scope="module")
def images(system: System) -> list[str]:
    """Ask for the ingest of images, which the tests of this file find on their way or done."""
    images = images_of(CUSTOMER)
    send_large_pages(system, images)
    return images


def run_of_most(system: System) -> Run | None:
    """Return the run of the chunk that has most images, should a tick have come between two messages."""
    found = system.rows(LARGEST_CHUNK, CUSTOMER)
    return system.dagster.run(found[0][0]) if found else None


def test_a_killed_run_leaves_every_image_done_once(stack: RunningStack, system: System, images: list[str]) -> None:
    killed = kill_in_the_middle(stack, system, lambda: run_of_most(system))
    check_recovered(stack, system, killed, images)
    requests = system.rows(REQUESTS, CUSTOMER)
    assert [(image, state) for image, _, state in requests] == [(image, "done") for image in images]


def test_a_killed_run_from_the_ui_leaves_every_image_done(
    stack: RunningStack, system: System, images: list[str]
) -> None:
    system.await_end(images)
    system.await_materialized(f"/{CUSTOMER}/", len(images))

    keys = [key for key in system.dagster.partition_keys() if key.startswith(f"/{CUSTOMER}/")]
    ends = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    launched = system.dagster.launch_run(STAGES, ends)
    killed = kill_in_the_middle(stack, system, lambda: system.dagster.run(launched))
    check_recovered(stack, system, killed, images)
    # One request for each time that one was made: the message, and the launch.
    asked = [(image, state) for image, _, state in system.rows(REQUESTS, CUSTOMER)]
    assert asked == [(image, "done") for image in images for _ in range(2)]
