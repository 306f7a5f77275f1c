"""A service that goes away for a while costs time, not images."""

from __future__ import annotations

import psutil
import pytest

from dlcs_assets_tests.e2e.killing import run_held_up_by_appetiser
from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System

pytestmark = pytest.mark.e2e

IMAGES = 10


def test_images_wait_while_appetiser_is_away_and_none_fails(stack: RunningStack, system: System, customer: int) -> None:
    images = [f"{customer}/1/page-{number:02}" for number in range(IMAGES)]
    system.send_pages(images, width=1600, height=2400)
    eventually(lambda: [status.state for status in system.images(customer).values()].count("done") >= 2)
    stack.stop(Component.APPETISER)
    # Pending again with a reason: the run has met the closed door.
    waiting = eventually(
        lambda: [status for status in system.images(customer).values() if status.state == "pending" and status.reason]
    )
    assert all("Appetiser" in (status.reason or "") for status in waiting)
    stack.start(Component.APPETISER)

    system.await_end(images)  # which fails at once if an image has failed
    system.await_materialized(f"@{customer}/", IMAGES)
    # The last run ends a moment after its last image.
    eventually(
        lambda: {run.status for run in system.dagster.runs(customer=str(customer))}, lambda seen: seen == {"SUCCESS"}
    )


def test_a_terminated_run_ends_in_time_though_a_service_hangs(
    stack: RunningStack, system: System, customer: int
) -> None:
    """Fargate's spot market and a deployment send SIGTERM, and SIGKILL half a minute later."""
    images = [f"{customer}/1/page-{number}" for number in range(3)]
    with run_held_up_by_appetiser(stack, system, images) as run:
        pid = system.dagster.pid(run.id)
        assert pid is not None
        process = psutil.Process(pid)
        process.terminate()
        process.wait(timeout=20)
        assert {status.state for status in system.images(customer).values()} <= {"pending", "running"}
    system.await_end(images)
    system.await_materialized(f"@{customer}/", len(images))
    # What the run had in hand when it went is for reconcile to clear, at its next look.
    scratch = stack.data / "scratch"  # where the copy of the customers file stays
    eventually(lambda: {path.name.partition("-")[0] for path in scratch.iterdir()} <= {"customers"})
