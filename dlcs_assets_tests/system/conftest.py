"""Systems of a test's own, next to the one stack of services that all tests of a process share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from dlcs_assets.defs.sensors import dispatch
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System


@pytest.fixture(autouse=True)
def _lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Request again at once what a test lets get lost, without waiting for it to appear."""
    monkeypatch.setattr(dispatch, "LAUNCH_GRACE", timedelta(0))


@pytest.fixture
def make_system(services: RunningStack, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Make the system with settings of the test's choice."""
    with ExitStack() as opened:
        yield lambda **settings: opened.enter_context(running_system(services, tmp_path, **settings))


@pytest.fixture
def system(services: RunningStack, tmp_path: Path) -> Iterator[System]:
    with running_system(services, tmp_path) as running:
        yield running
