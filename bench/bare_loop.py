"""What the system does with its messages, in this process: the same calls, without Dagster and ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from bench.system import RunningSystem
from bench.thumbnail_work import workers
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.defs.resources import make_services
from dlcs_assets.domain.ingest_request import IngestMessage, parse_message, register
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ingest.cleanup import tidy
from dlcs_assets.ingest.job import Job, Services
from dlcs_assets.ingest.jp2 import make_jp2
from dlcs_assets.ingest.original import make_original
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.thumbnails import make_thumbnails
from dlcs_assets.ledger.records import new_id
from dlcs_assets.settings import Settings


def ingest(system: RunningSystem, messages: Sequence[dict[str, Any]], queue_name: str) -> None:
    """Send the messages to a queue of the loop's own, and do with them what a run does, as many at a time."""
    settings, services, queues = system.settings, make_services(system.settings), Queues()
    queue = system.sqs.create_queue(QueueName=queue_name)["QueueUrl"]
    system.send_messages(messages, queue)
    received: list[IngestMessage] = []
    while some := queues.receive(queue):
        received += [parsed for one in some if isinstance(parsed := parse_message(one.body), IngestMessage)]
        queues.delete(queue, some)
    if len(received) != len(messages):
        raise RuntimeError(f"{len(received)} of {len(messages)} messages were received")
    with workers(settings) as (threads, sizes):

        def ingest_one(message: IngestMessage) -> None:
            assert message.asset is not None
            item = WorkItem(new_id(), message.asset_id, register(message.asset, None), frozenset(STAGES))
            make_all(item, services, settings, sizes)

        list(threads.map(ingest_one, received))


def make_all(item: WorkItem, services: Services, settings: Settings, sizes: Executor) -> None:
    """Take an image through all stages, without events and rows."""
    with tempfile.TemporaryDirectory(dir=settings.scratch) as folder:
        job = Job(
            item,
            services,
            ingest_policy(settings),
            Path(folder),
            guard=lambda: None,
            origins_among=lambda *_: set(),
            reserve=lambda *_: None,
        )
        job.results[Stage.ORIGINAL] = make_original(job)
        job.results[Stage.JP2] = make_jp2(job)
        make_thumbnails(job, sizes)
        tidy(job)
