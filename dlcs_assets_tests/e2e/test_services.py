"""A service that goes away for a while costs time, not images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_second_stack_on_the_ledger_leaves_the_first_at_work(system: System, customer: int, tmp_path: Path) -> None:
    """It is refused, with the name of the instance that the ledger works for."""
    owner = eventually(system.ledger.ownership.current)
    assert owner is not None
    second = subprocess.run(
        [Path(sys.executable).with_name("dlcs"), "up", "--data", tmp_path / "second"],
        env={**os.environ, "DLCS_LEDGER_URL": system.environment["DLCS_LEDGER_URL"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"This ledger belongs to Dagster instance {owner.instance_id}" in second.stderr
    system.send_pages([image := f"{customer}/1/page"], width=400, height=300)
    system.await_end([image])
    now = system.ledger.ownership.current()
    assert now is not None
    assert now.instance_id == owner.instance_id
