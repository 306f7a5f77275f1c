"""Pages through the whole system, against a bare loop that makes the same calls without Dagster and ledger."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.result import Result, of_many
from bench.system import RunningSystem
from dlcs_assets.definitions import build_resources
from dlcs_assets.domain.ingest_request import IngestMessage, Registration, parse_message, register
from dlcs_assets.domain.results import WorkItem
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.pipeline.job import Job, Services
from dlcs_assets.pipeline.jp2 import make_jp2
from dlcs_assets.pipeline.original import make_original
from dlcs_assets.pipeline.rules import rules_of
from dlcs_assets.pipeline.thumbnails import make_thumbnails
from dlcs_assets.pipeline.tidy import tidy
from dlcs_assets.resources.ledger.records import new_id

GOAL = 1.5


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Alternate between system and bare loop: what else the machine does meets both."""
    count, rounds = (12, 1) if quick else (48, 3)
    ours: list[float] = []
    bare: list[float] = []
    for number in range(rounds):
        ours.append(through_the_system(system, pages, count, customer=100 + number))
        bare.append(through_the_bare_loop(system, pages, count, customer=200 + number))
    yield of_many("throughput", f"seconds_system_{count}_pages", ours, "s")
    yield of_many("throughput", f"seconds_bare_loop_{count}_pages", bare, "s")
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    yield of_many("throughput", "ratio_to_bare_loop", ratios, "x", GOAL)


def uploaded(system: RunningSystem, pages: list[Path], count: int, customer: int) -> list[tuple[str, str]]:
    images = [f"{customer}/1/{number}" for number in range(count)]
    return [(image, system.upload(page, image)) for image, page in zip(images, itertools.cycle(pages), strict=False)]


def through_the_system(system: RunningSystem, pages: list[Path], count: int, customer: int) -> float:
    images = uploaded(system, pages, count, customer)
    began = time.monotonic()
    system.send(images)
    system.wait(customer, count)
    return time.monotonic() - began


def through_the_bare_loop(system: RunningSystem, pages: list[Path], count: int, customer: int) -> float:
    resources = build_resources(system.settings)
    services = Services(resources["origins"], resources["storage"], resources["appetiser"], resources["image_server"])
    images = uploaded(system, pages, count, customer)
    queue = system.sqs.create_queue(QueueName=f"bare-{customer}")["QueueUrl"]
    began = time.monotonic()
    system.send(images, queue)
    messages: list[IngestMessage] = []
    while received := resources["queues"].receive(queue):
        messages += [parsed for one in received if isinstance(parsed := parse_message(one.body), IngestMessage)]
        resources["queues"].delete(queue, received)
    settings = system.settings
    with (
        ThreadPoolExecutor(settings.images_in_flight) as workers,
        ThreadPoolExecutor(settings.image_server_in_flight) as sizes,
    ):

        def ingest(message: IngestMessage) -> None:
            assert message.asset is not None
            registration: Registration = register(message.asset, None)
            item = WorkItem(new_id(), message.asset_id, registration, frozenset(STAGES))
            with tempfile.TemporaryDirectory(dir=settings.scratch) as folder:
                job = Job(
                    item, services, rules_of(settings), Path(folder), lambda: None, lambda *_: set(), lambda *_: None
                )
                job.results[Stage.ORIGINAL] = make_original(job)
                job.results[Stage.JP2] = make_jp2(job)
                make_thumbnails(job, sizes)
                tidy(job)

        done = list(workers.map(ingest, messages))
    if len(done) != count:
        raise RuntimeError(f"{len(done)} of {count} messages were received")
    return time.monotonic() - began
