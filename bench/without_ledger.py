"""What a run does with its images, here, without Dagster and ledger: for cases that count bytes and requests."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from bench.system import RunningSystem
from bench.thumbnail_work import workers
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.defs.resources import make_services
from dlcs_assets.domain.ingest_request import IngestMessage, parse_message, register
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.stages import STAGES
from dlcs_assets.ingest.context import ImageContext, Services
from dlcs_assets.ingest.image import ingest_image
from dlcs_assets.ingest.policy import ingest_policy
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


class NoLedger:
    """What images ask of the ledger (`ImageLedger`), where there is none."""

    def check_claim(self, *, at_this_moment: bool = False) -> None:
        pass

    def is_taken_over(self) -> bool:
        return False

    def origins_among(self, _bucket: str, _keys: Collection[str]) -> set[str]:
        return set()

    def reserve(self, limit: int, new_bytes: int, replaces: Collection[ObjectKind], *, counted: int = 0) -> None:
        pass

    def commit(self, _result: StageResult, _invalidate: Sequence[str]) -> None:
        pass

    def record_transient(self, _record: ObjectRecord) -> None:
        pass

    def forget_object(self, _bucket: str, _key: str) -> None:
        pass


def make_all(item: WorkItem, services: Services, settings: Settings, sizes: Executor) -> None:
    """Take an image through all stages, without events and rows."""
    with tempfile.TemporaryDirectory(dir=settings.scratch) as folder:
        image = ImageContext(item, "none", services, ingest_policy(settings), Path(folder), NoLedger())
        for _ in ingest_image(image, sizes):
            pass
