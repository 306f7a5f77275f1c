"""One whole system for all tests of this folder: real processes, kept apart by customers."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator

import pytest

from dlcs_stack.stack import RunningStack, Stack
from dlcs_testing.code_locations import impatient_instance
from dlcs_testing.whole_system import System

CUSTOMERS = itertools.count(101)


@pytest.fixture(scope="package")  # not longer: its sensors tick whether or not anyone looks
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    # Images that wait for a service are tried again soon, and those of a run that vanished without a trace.
    settings = {"DLCS_ATTEMPT_DELAY": "PT2S", "DLCS_CLAIM_TTL": "PT60S"}
    folder = tmp_path_factory.mktemp("e2e")
    instance = impatient_instance(folder, start_seconds=45)
    with Stack(folder / "stack", settings=settings, instance=instance).running() as stack:
        yield stack


@pytest.fixture(scope="package")
def system(stack: RunningStack) -> System:
    return System(stack.environment)


@pytest.fixture
def customer() -> int:
    """Return a customer that no other test has."""
    return next(CUSTOMERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a screenshot of the page of a browser test that fails, and say where."""
    report = yield
    funcargs = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and "page" in funcargs:
        picture = funcargs["tmp_path"] / "failed.png"
        funcargs["page"].screenshot(path=picture)
        report.sections.append(("browser", f"At {funcargs['page'].url}; screenshot: {picture}"))
    return report
