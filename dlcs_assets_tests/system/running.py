"""Making a system of a test's own, with queues, buckets, ledger and history that no other test has."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
            dg.DagsterInstance.ephemeral()
            if dagster_in_memory and not history
            else instance_with(history or {"sqlite": {"base_dir": str(folder)}}, folder)
        )
        queues = {f"{name}_queue_url": opened.enter_context(_queue(name)) for name in QUEUES}
        system = opened.enter_context(installed(System, stack, folder, {**queues, **settings}, instance=instance))
        opened.callback(_close, system)
        yield system


@contextmanager
def _queue(name: str) -> Iterator[str]:
    client = make_client("sqs")
    try:
        name = f"{name}-{uuid.uuid4().hex[:12]}"
        yield client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    finally:
        client.close()


def _close(system: System) -> None:
    system.ledger.close()
    for client in (system.queues, system.listings, system.notifications):
        client.close()
