"""`dlcs canary` on a whole system: what it says of one that is well, and of one that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.pictures import jpeg
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System, full_message

pytestmark = pytest.mark.e2e


def canary(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("dlcs"), "canary", *arguments],
        env={**os.environ, **system.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_canary_passes_in_a_healthy_system_and_is_deleted(system: System, customer: int) -> None:
    """It goes through all stages, and its image is deleted in the end."""
    image = f"{customer}/1/canary"
    done = canary(system, image, "--json")
    assert done.returncode == 0, done.stderr
    found = printed(done)
    assert (found["id"], found["well"], found["why"]) == (image, True, None)
    assert set(found["stages"]) == {"original", "jp2", "thumbnails"}
    assert found["objects"] >= 5
    eventually(lambda: system.images(customer)[image].state, lambda state: state == "deleted", timeout=60)


def test_an_image_registered_with_another_origin_is_not_touched(system: System, customer: int) -> None:
    image = f"{customer}/1/page"
    system.send(full_message(image, system.upload(f"{customer}/1/other", jpeg(60, 40))))
    system.await_end([image])
    done = canary(system, image)
    assert done.returncode == 1
    assert "is registered with another origin" in done.stderr


def test_a_canary_that_times_out_is_reported(stack: RunningStack, system: System, customer: int) -> None:
    """The command fails, and says that the canary has not ended and how long it waited."""
    stack.stop(Component.IMAGE_SERVER)
    try:
        done = canary(system, f"{customer}/1/canary", "--timeout", "12")
    finally:
        stack.start(Component.IMAGE_SERVER)
    assert done.returncode == 1
    assert "The canary has not ended after 12 s" in done.stderr
