"""A service that goes away for a while costs time, not images."""

from __future__ import annotations

import pytest

from dlcs_assets.local.stack import Component, RunningStack
from dlcs_assets_tests.e2e.system import System
from dlcs_assets_tests.e2e.waiting import eventually

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
    system.await_materialized(f"/{customer}/", IMAGES)
    assert {run.status for run in system.dagster.runs(customer=str(customer))} == {"SUCCESS"}
