"""Pages through the whole system with the embedded services, against the independent loop with the same services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from bench.independent_loop import Job
from bench.processes import seconds_of
from bench.result import Result, of_many
from bench.rows import ROW_1, ROW_4, ROW_8, Library, Row, as_jp2, library, make_shelf, write_customers
from bench.system import RunningSystem, running
from dlcs_stack import aws
from dlcs_stack.stack import ALL, Component

CASE: Final = "limit"
CUSTOMERS: Final = range(100, 200)
PROCESSOR_GOALS: Final[Mapping[str, float]] = {ROW_1.name: 1.05, ROW_4.name: 1.15}
WALL_GOAL: Final = 1.1
ROWS: Final = (ROW_1, ROW_4, ROW_8)
ROUNDS: Final = 4
IMAGES: Final = 50
QUICK_IMAGES: Final = 4
# What the loop needs of the stack.
_SERVICES: Final = (Component.AWS, Component.APPETISER, Component.IMAGE_SERVER)


@dataclass
class Taken:
    """What the images of a row took, in each round."""

    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)


def measure_ratios(pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Let system and loop take turns, each with all rows: what else the machine does meets both."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"pages": pages, "jp2": [as_jp2(page, folder / f"{number}.jp2") for number, page in enumerate(pages)]}
        customers = folder / "dlcs.yaml"
        write_customers(customers, CUSTOMERS)
        with library(files) as origins, running({"DLCS_CUSTOMERS_FILE": str(customers)}) as system:
            make_shelf(system)
            yield from _compared(
                system, origins, rounds=1 if quick else ROUNDS, count=QUICK_IMAGES if quick else IMAGES
            )


def _compared(system: RunningSystem, origins: Library, *, rounds: int, count: int) -> Iterator[Result]:
    """Take turns: a b b a a b b a. To switch the sensors off, for the loop, takes ten seconds."""
    customers = iter(CUSTOMERS)
    taken = {row.name: (Taken(), Taken()) for row in ROWS}
    turns = [turn for number in range(rounds) for turn in ((False, True), (True, False))[number % 2]]
    for alone, together in groupby(turns):
        with system.without_ticks() if alone else nullcontext():
            for _ in together:
                for row in ROWS:
                    _take(system, origins, row, next(customers), count, taken[row.name][alone], alone=alone)
    for row in ROWS:
        of_system, of_loop = taken[row.name]
        yield of_many(CASE, f"seconds_{row.name}", of_system.seconds, "s")
        yield of_many(CASE, f"seconds_{row.name}_of_the_loop", of_loop.seconds, "s")
        yield _milliseconds(f"processor_ms_{row.name}", of_system, count)
        yield _milliseconds(f"processor_ms_{row.name}_of_the_loop", of_loop, count)
        wall = [one / other for one, other in zip(of_system.seconds, of_loop.seconds, strict=True)]
        yield of_many(CASE, f"wall_ratio_{row.name}", wall, "x", WALL_GOAL)
        both = zip(of_system.processor_seconds, of_loop.processor_seconds, strict=True)
        used = [one / other for one, other in both]
        yield of_many(CASE, f"processor_ratio_{row.name}", used, "x", PROCESSOR_GOALS.get(row.name))


def _milliseconds(metric: str, taken: Taken, count: int) -> Result:
    return of_many(CASE, metric, [seconds * 1000 / count for seconds in taken.processor_seconds], "ms")


def _take(  # noqa: PLR0917 (what is measured, and where to)
    system: RunningSystem, origins: Library, row: Row, customer: int, count: int, taken: Taken, *, alone: bool
) -> None:
    messages = origins.messages(system, row, count, customer)
    stack = system.stack
    services = _SERVICES if alone else tuple(ALL)
    queue = system.sqs.create_queue(QueueName=f"loop-{customer}")["QueueUrl"] if alone else None
    before, began = seconds_of(stack, services), time.monotonic()
    system.send_messages(messages, queue)
    own = 0.0
    if queue:
        own = _loop(system, queue, count)
    else:
        system.wait(customer, count)
    taken.seconds.append(time.monotonic() - began)
    taken.processor_seconds.append(seconds_of(stack, services) - before + own)
    _require_results(system, customer, count)


def _loop(system: RunningSystem, queue: str, count: int) -> float:
    """Run the loop in a process of its own; return its processor seconds, its start and imports not included."""
    settings, stack = system.settings, system.stack
    job = Job(
        s3=str(stack.url(Component.AWS)),
        queue=queue,
        messages=count,
        appetiser=settings.appetiser_url,
        image_server=settings.image_server_url,
        scratch=str(settings.scratch.absolute()),
        in_flight=settings.images_in_flight,
        storage_bucket=settings.storage_bucket,
        thumbs_bucket=settings.thumbs_bucket,
        sizes=settings.default_thumbnail_sizes,
        region=aws.REGION,
        access_key_id=aws.CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=aws.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.independent_loop"],
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ},
    )
    return float(json.loads(done.stdout)["processor_seconds"])


def _require_results(system: RunningSystem, customer: int, count: int) -> None:
    """Raise RuntimeError if not every image has its `s.json`: else what was measured would not be the same work."""
    listing = system.s3.get_paginator("list_objects_v2").paginate(
        Bucket=system.settings.thumbs_bucket, Prefix=f"{customer}/"
    )
    keys = [item["Key"] for page in listing for item in page.get("Contents", ())]
    if sum(key.endswith("/s.json") for key in keys) != count:
        raise RuntimeError(f"{count} images were asked for, and thumbnails are {keys}")
