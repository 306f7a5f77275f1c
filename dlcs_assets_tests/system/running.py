"""Making a system of a test's own, with queues, buckets, ledger and history that nobody else has."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dlcs_assets.clients.aws import make_client
from dlcs_assets.settings import Settings
from dlcs_assets_tests.system.proxy import proxy_to
from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.harness import System
from dlcs_testing.instances import instance_with, ours_in
from dlcs_testing.scripted_server import Answer, scripted_server


@contextmanager
def running_system(
    stack: RunningStack,
    folder: Path,
    *,
    dagster_in_memory: bool = True,
    history: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[System]:
    """Make a system beside the services that are up; `settings` take the place of those it would choose.

    Dagster's history in files takes most of a run's time: it is in memory unless the test is about the files.
    `history` is where else it is to be, as `storage` in dagster.yaml.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable in [variable for variable in os.environ if variable.startswith(("DLCS_", "AWS_"))]:
            patch.delenv(variable)
        for variable, value in stack.environment.items():
            if variable.startswith("AWS_"):
                patch.setenv(variable, value)
        with (
            (
                dg.DagsterInstance.ephemeral()
                if dagster_in_memory and not history
                else instance_with(history or ours_in(folder), folder)
            ) as instance,
            _system(stack, instance, folder, settings) as system,
        ):
            yield system


@contextmanager
def _system(
    stack: RunningStack, instance: dg.DagsterInstance, folder: Path, settings: dict[str, Any]
) -> Iterator[System]:
    name = uuid.uuid4().hex[:12]
    endpoint = stack.environment["AWS_ENDPOINT_URL"]
    buckets = {kind: f"{kind}-{name}" for kind in ("storage", "thumbs", "origin")}
    s3, sqs = make_client("s3"), make_client("sqs")
    for bucket in buckets.values():
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    queues = {
        kind: sqs.create_queue(QueueName=f"{kind}-{name}", Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
        for kind in ("ingest", "priority", "uploads", "update", "delete")
    }
    with ExitStack() as opened:
        origin = opened.enter_context(scripted_server(Answer(404, b"There is no such page.")))
        s3_proxy = opened.enter_context(proxy_to(endpoint))
        appetiser = opened.enter_context(proxy_to(str(stack.url(Component.APPETISER))))
        image_server = opened.enter_context(proxy_to(str(stack.url(Component.IMAGE_SERVER))))
        chosen: dict[str, Any] = {
            "storage_bucket": buckets["storage"],
            "thumbs_bucket": buckets["thumbs"],
            "origin_bucket": buckets["origin"],
            "ingest_queue_url": queues["ingest"],
            "priority_queue_url": queues["priority"],
            "uploads_queue_url": queues["uploads"],
            "update_queue_url": queues["update"],
            "delete_queue_url": queues["delete"],
            "appetiser_url": appetiser.url,
            "image_server_url": image_server.url,
            "slots": folder / "slots",
            "scratch": stack.data / "scratch" / name,
            "ledger_url": f"sqlite:///{folder / 'ledger.db'}",
            "private_networks": ("127.0.0.0/8",),
            "receive_wait": timedelta(0),
            "intake_budget": timedelta(minutes=1),  # a tick takes all in, however busy the machine is
            "attempt_delay": timedelta(0),
            "attempts": 2,
        }
        system = System(stack, Settings(**{**chosen, **settings}), instance, origin, s3_proxy, appetiser, image_server)
        try:
            yield system
        finally:
            system.ledger.close()
            for client in (system.s3, system.sqs, system.queues, system.listings, system.notifications, s3, sqs):
                client.close()
