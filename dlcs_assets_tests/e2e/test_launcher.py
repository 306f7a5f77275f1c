"""Runs as forks: they can be ended from the UI, and outlive what they were forked from."""

from __future__ import annotations

import psutil
import pytest

from dlcs_assets_tests.e2e.killing import run_held_up_by_appetiser
from dlcs_stack.stack import RunningStack
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System

pytestmark = pytest.mark.e2e


def test_an_image_says_that_its_run_was_terminated(stack: RunningStack, system: System, customer: int) -> None:
    """The image is withdrawn and not tried again."""
    image = f"{customer}/1/page"
    with run_held_up_by_appetiser(stack, system, [image]) as run:
        assert system.dagster.terminate(run.id) == "TerminateRunSuccess"
        eventually(lambda: system.dagster.run(run.id).status, lambda status: status == "CANCELED")
    status = system.images(customer)[image]
    assert status.state == "cancelled"
    assert status.reason is not None
    assert "was terminated by hand" in status.reason


def test_a_killed_fork_server_stops_no_run(stack: RunningStack, system: System, customer: int) -> None:
    """Runs that were forked from it continue, and new runs begin."""
    image = f"{customer}/1/page"
    with run_held_up_by_appetiser(stack, system, [image]) as run:
        pid = system.dagster.pid(run.id)
        assert pid is not None
        server = psutil.Process(pid).parent()
        assert server is not None
        assert any("forkserver" in part for part in server.cmdline())
        server.kill()
    system.await_end([image])
    eventually(lambda: system.dagster.run(run.id).status, lambda status: status == "SUCCESS")

    system.send_pages([another := f"{customer}/1/another"], width=400, height=300)
    system.await_end([another])
