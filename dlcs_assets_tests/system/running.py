"""Making a system of a test's own, with queues, buckets, ledger and history that no other test has."""

from __future__ import annotations

import atexit
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from dlcs_assets.clients.aws import make_client
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System
from dlcs_testing.installation import installed, only_the_stacks_environment
from dlcs_testing.instances import instance_with

QUEUES = ("ingest", "priority", "uploads", "update", "delete")


@contextmanager
def running_system(
    stack: RunningStack,
    folder: Path,
    *,
    dagster_in_memory: bool = True,
    history: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[System]:
    """Make a system next to the services that are up; `settings` take the place of those it would choose.

    Dagster's history in files takes most of a run's time: it is in memory unless the test is about the files.
    `history` is where else it is to be, as `storage` in dagster.yaml.
    """
    with only_the_stacks_environment(stack), ExitStack() as opened:
        instance = opened.enter_context(
            _instance_in_memory()
            if dagster_in_memory and not history
            else instance_with(history or {"sqlite": {"base_dir": str(folder)}}, folder)
        )
        system = opened.enter_context(installed(System, stack, folder, {**_queues(), **settings}, instance=instance))
        opened.callback(_close, system)
        yield system


_FREE_INSTANCES: list[dg.DagsterInstance] = []


@contextmanager
def _instance_in_memory() -> Iterator[dg.DagsterInstance]:
    """Return one that is empty: that Dagster makes its tables takes longer than most tests' runs."""
    instance = _FREE_INSTANCES.pop() if _FREE_INSTANCES else dg.DagsterInstance.ephemeral()
    yield instance
    instance.wipe()
    _FREE_INSTANCES.append(instance)


@atexit.register
def _dispose() -> None:
    for instance in _FREE_INSTANCES:
        instance.dispose()


def _queues() -> dict[str, str]:
    """Make the queues of a system; return their settings."""
    name = uuid.uuid4().hex[:12]
    with closing(make_client("sqs")) as client:
        return {
            f"{queue}_queue_url": client.create_queue(
                QueueName=f"{queue}-{name}", Attributes={"VisibilityTimeout": "60"}
            )["QueueUrl"]
            for queue in QUEUES
        }


def _close(system: System) -> None:
    system.ledger.close()
    for client in (system.queues, system.listings, system.notifications):
        client.close()
