"""A backlog of 100,000 messages before the whole system: what it does to ticks, and to the memory of its processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from bench.instant_system import Databases, instant_system
from bench.memory import high_water_mark
from bench.result import Result, of_many
from bench.system import RunningSystem
from dlcs_stack.stack import Component
from dlcs_testing import postgresql
from dlcs_testing.stack_processes import daemon, of_service, resident_megabytes, runs

BACKLOG, QUICK_BACKLOG = 100_000, 2_000
IMAGES, QUICK_IMAGES = 1_500, 100  # to be done after the last message was taken in
STEPS = 10
CUSTOMER = 2
SENDERS = 8
TICK_GOAL = 5.0
POLL_SECONDS = 0.5
ENDED = text("SELECT count(*) FROM attempts WHERE ended_at IS NOT NULL")


@dataclass
class Watch:
    """Looks at the system, twice a second, and notes what its processes take whenever a step is reached."""

    system: RunningSystem
    engine: Engine
    backlog: int
    memory: dict[str, list[float]] = field(default_factory=dict)  # by process, a value for each step
    seconds: list[float] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    _marks: dict[int, int] = field(default_factory=dict)  # of runs since the last step, by process number

    def look(self) -> tuple[int, int]:
        """Return how many messages were taken in, and how many images have ended."""
        for process in runs(self.system.stack):
            self._marks[process.pid] = max(self._marks.get(process.pid, 0), high_water_mark(process.pid))
        wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        queue = self.system.sqs.get_queue_attributes(
            QueueUrl=self.system.settings.ingest_queue_url, AttributeNames=wanted
        )
        with self.engine.connect() as connection:
            ended = int(connection.execute(ENDED).scalar_one())
        return self.backlog - sum(map(int, queue["Attributes"].values())), ended

    def step(self) -> None:
        """Note where the system is, and what it takes."""
        taken, images = self.look()
        self.seconds.append(time.monotonic())
        self.taken.append(taken)
        self.images.append(images)
        stack = self.system.stack
        marks = [mark / 2**20 for mark in self._marks.values()]
        self._marks.clear()
        for name, megabytes in (
            ("daemon", resident_megabytes(daemon(stack))),
            ("code_server", sum(map(resident_megabytes, of_service(stack, Component.CODE_SERVER)))),
            ("a_run", max(marks, default=0.0)),
        ):
            self.memory.setdefault(name, []).append(round(megabytes, 1))

    def until(self, taken: float, images: float) -> None:
        """Wait until that many messages were taken in and that many images have ended, and record that step."""
        while True:
            of_messages, of_images = self.look()
            if of_messages >= taken and of_images >= images:
                return self.step()
            time.sleep(POLL_SECONDS)


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:  # noqa: ARG001 (of its own)
    """Take the backlog in while runs work, then continue until some thousand images more are done."""
    backlog, images = (QUICK_BACKLOG, QUICK_IMAGES) if quick else (BACKLOG, IMAGES)
    with ExitStack() as opened:
        binaries = postgresql.find_binaries()
        if binaries is None:
            databases = Databases("sqlite")
        else:
            databases = Databases("postgresql", opened.enter_context(postgresql.running(binaries)))
        of_its_own, page = opened.enter_context(
            instant_system(databases, f"customers:\n  {CUSTOMER}: {{}}\n", {}, runs=3)
        )
        yield from _of(of_its_own, page, backlog, images)


def _of(system: RunningSystem, page: Path, backlog: int, images: int) -> Iterator[Result]:
    origin = system.upload(page, f"{CUSTOMER}/1/page")
    # What is loaded for the first time is loaded.
    system.send([(f"{CUSTOMER}/1/first", origin)])
    system.wait(CUSTOMER, 1)
    engine = create_engine(system.settings.ledger_url.replace("postgresql:", "postgresql+psycopg2:"))
    with system.without_ticks():
        _send(system, [(f"{CUSTOMER}/1/{number:06}", origin) for number in range(backlog)])
        watch = Watch(system, engine, backlog)
        watch.step()
        since = time.time()
    for number in range(1, STEPS + 1):
        watch.until(backlog * number / STEPS, 0)
    taken_in = watch.seconds[-1] - watch.seconds[0]
    size = system.ledger.health.size()
    for number in range(1, STEPS + 1):
        watch.until(backlog, watch.images[STEPS] + images * number / STEPS)
    engine.dispose()

    yield Result("backlog", "messages_per_second", round(backlog / taken_in, 1), "/s")
    yield of_many("backlog", "messages_per_second_by_tenths", _rates(watch.taken, watch.seconds)[:STEPS], "/s")
    rates = _rates(watch.images, watch.seconds)
    meanwhile = (watch.images[STEPS] - watch.images[0]) / taken_in
    yield Result("backlog", "images_per_second_meanwhile", round(meanwhile, 1), "/s")
    yield of_many("backlog", "images_per_second_afterwards_by_tenths", rates[STEPS:], "/s")
    yield Result("backlog", "ledger_bytes_per_message", round(size / backlog), "B")
    for sensor in ("sqs_ingest", "due_images"):
        yield of_many("backlog", f"tick_seconds_{sensor}", system.tick_seconds(sensor, since), "s", TICK_GOAL)
    for name, values in watch.memory.items():
        for step in range(0, STEPS + 1, 2):
            if name != "a_run" or step:
                yield Result("backlog", f"megabytes_of_{name}_at_{watch.taken[step]}_messages", values[step], "MB")
        for step in range(STEPS + 2, 2 * STEPS + 1, 2):
            more = round(images * (step - STEPS) / STEPS)
            yield Result("backlog", f"megabytes_of_{name}_{more}_images_later", values[step], "MB")


def _send(system: RunningSystem, images: Sequence[tuple[str, str]]) -> None:
    size = -(-len(images) // SENDERS)
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(system.send, [images[start : start + size] for start in range(0, len(images), size)]))


def _rates(counts: Sequence[int], seconds: Sequence[float]) -> list[float]:
    """Return what came in each second between the steps."""
    return [
        (counts[number + 1] - counts[number]) / (seconds[number + 1] - seconds[number])
        for number in range(len(counts) - 1)
    ]
