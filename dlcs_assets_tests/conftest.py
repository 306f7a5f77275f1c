"""How tests are given to several processes (`pytest -n`): together with those whose servers they share.

And what many of them share: the stack's services, a pipeline of images without Dagster, PostgreSQL.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # it has no types

from dlcs_testing import postgresql

if TYPE_CHECKING:
    from dlcs_assets.clients.dlcs_database import DlcsDatabase
    from dlcs_stack.stack import RunningStack
    from dlcs_testing.dlcs_database import Dlcs
    from dlcs_testing.pipeline import Pipeline

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C. Some start what is
# ended by it.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, and none fails because a machine is busy.
settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")

WHOLE_SYSTEM = "dlcs_assets_tests/e2e/"
ON_ITS_OWN = ("test_dagster_dev.py", "test_secrets.py")  # have servers of their own
LONG = ("dlcs_assets_tests/crash/", *(f"{WHOLE_SYSTEM}{name}" for name in ON_ITS_OWN))


def scope_of(nodeid: str) -> str:
    """Tests of one scope run in one process, one after the other: those of a file, and all on the whole system."""
    file = nodeid.partition("::")[0]
    return WHOLE_SYSTEM if file.startswith(WHOLE_SYSTEM) and not file.endswith(ON_ITS_OWN) else file


class ByServers(LoadScopeScheduling):  # type: ignore[misc] # as above
    """xdist_group does not do: with pytest 9.2, pytest-xdist 3.8 ignores the marks without a word."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers:
    """Keep the order of collection, too."""
    config.option.loadscopereorder = False
    return ByServers(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that the others run at the same time."""
    items.sort(key=lambda item: (scope_of(item.nodeid) != WHOLE_SYSTEM, not item.nodeid.startswith(LONG)))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report what the whole run cost, which says more than its time: that depends on what else the machine does."""
    if hasattr(config, "workerinput"):
        return
    # Of processes that were started those count that have ended and were waited for, and their own such processes.
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    user, system = sum(each.ru_utime for each in usages), sum(each.ru_stime for each in usages)
    terminalreporter.write_line(f"{user + system:.0f} processor seconds ({user:.0f} user, {system:.0f} system)")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    binaries = postgresql.find_binaries()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running(binaries) as server:
        yield server


@pytest.fixture(params=["2025", "2026"])
def dlcs(request: pytest.FixtureRequest, postgresql_server: postgresql.Server) -> Dlcs:
    """Make a database as the DLCS has it, of either layout."""
    from dlcs_testing.dlcs_database import Dlcs  # noqa: PLC0415 (few tests need it)

    return Dlcs.new(postgresql_server, request.param)


@pytest.fixture
def database(dlcs: Dlcs) -> Iterator[DlcsDatabase]:
    """Open it as the command line does."""
    from dlcs_assets.clients.dlcs_database import DlcsDatabase  # noqa: PLC0415 (as above)

    with closing(DlcsDatabase(dlcs.url)) as opened:
        yield opened


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Start AWS, Appetiser and image server once for all tests of a process."""
    from dlcs_stack.stack import SERVICES, Stack  # noqa: PLC0415 (most processes of a run need none)

    with Stack(tmp_path_factory.mktemp("stack") / "data", components=SERVICES).running() as stack:
        yield stack


@pytest.fixture
def pipeline(services: RunningStack, tmp_path: Path) -> Iterator[Pipeline]:
    """Make an installation in which images are ingested without Dagster."""
    from dlcs_testing.pipeline import running_pipeline  # noqa: PLC0415 (as above)

    with running_pipeline(services, tmp_path) as running:
        yield running


@pytest.fixture
def make_pipeline(services: RunningStack, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Make pipelines with settings of the test's choice."""
    from dlcs_testing.pipeline import running_pipeline  # noqa: PLC0415 (as above)

    with ExitStack() as opened:
        yield lambda **settings: opened.enter_context(running_pipeline(services, tmp_path, **settings))
