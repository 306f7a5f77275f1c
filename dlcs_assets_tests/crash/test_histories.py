"""A short history in every test run; `python -m dlcs_assets_tests.crash` runs hundreds of long ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlcs_assets_tests.crash.evidence import keep_evidence
from dlcs_assets_tests.crash.expected import learn
from dlcs_assets_tests.crash.faults import Fault, Planned
from dlcs_assets_tests.crash.history import history_of, run
from dlcs_assets_tests.crash.world import World, world
from dlcs_stack.stack import Component
from dlcs_testing.stack_processes import of_service
from dlcs_testing.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

IMAGES = 12
PLAN = [
    Planned(Fault.COMMITTED, 0, 0),
    Planned(Fault.UPLOADED, 0, 0),
    Planned(Fault.S_JSON_STORED, 0, 0),
    Planned(Fault.AWS_FAILS, 2, 3),
    Planned(Fault.KILL_DAEMON, 6, 0),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("crash")) as made:
        yield made


def test_a_history_with_killed_parts_breaks_no_promise(made: World) -> None:
    """Nothing is lost, done twice or left behind, and every planned fault took place."""
    history = replace(history_of(1, made, faults=(), images=IMAGES), planned=PLAN)
    cases = {ending.case for ending in history.endings.values() if ending.case and not ending.case.is_missing}
    expected = learn(made, sorted(cases, key=str))

    run(history, made, expected)

    assert history.violations == []
    assert set(map(str, history.struck)) == {each.fault for each in PLAN}


def test_a_system_that_stands_still_shows_its_threads(made: World, tmp_path: Path) -> None:
    """Its logs, its databases and what is open are kept as well; then its processes run again."""
    keep_evidence(made, tmp_path / "kept")

    for component in (Component.CODE_SERVER, Component.DAEMON, Component.WEBSERVER):
        log = (tmp_path / "kept" / "stack" / "logs" / f"{component}.log").read_text()
        assert "=== process" in log
        assert "most recent call first" in log
    assert (tmp_path / "kept" / "stack" / "dagster" / "dagster.yaml").exists()
    assert "'due_at'" in (tmp_path / "kept" / "ledger" / "requests.txt").read_text()
    # A daemon counts as ready by the heartbeat of the one before: its process may come a moment later.
    eventually(
        lambda: [each for each in Component if not of_service(made.stack, each)], lambda gone: not gone, timeout=60
    )
