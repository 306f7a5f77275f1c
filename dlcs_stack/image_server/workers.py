"""The decoding processes: pictures are read and written there, because Pillow's JPEG 2000 decoder holds the GIL.

Requests for one source that come close together share a decode: it begins when those that have come are ready for it.
Those that come while it is being decoded share the next one. Nothing decoded is kept, so that no old picture can be
shown. Pixels in flight are limited over all sources.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from dlcs_stack.image_server import cantaloupe
from dlcs_stack.image_server.config import Config
from dlcs_stack.image_server.geometry import Job
from dlcs_stack.image_server.reading import Description, describe, prepare
from dlcs_stack.image_server.refusal import RefusalError, unreadable
from dlcs_stack.image_server.rendering import BYTES_PER_PIXEL, Batch, render
from dlcs_stack.image_server.sources import Source
from dlcs_stack.limits import be_first_to_be_killed, memory_share

_DESCRIPTIONS_KEPT = 1024
_MEMORY_SHARE = 0.125
_SECOND_CHANCE_SECONDS = 2.0
# How long a decode waits for requests for the same source that have come and are not ready. S3 may be slow to answer.
_COMPANY_SECONDS = 0.05

T = TypeVar("T")


class Workers:
    """A pool of processes, and who waits for which source. Used from one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._describe = cantaloupe.describer(config) if config.like_cantaloupe else describe
        self._render = cantaloupe.render if config.like_cantaloupe else render
        self._idle: asyncio.Queue[ProcessPoolExecutor] = asyncio.Queue()
        self._pools = {self._new_pool() for _ in range(config.workers)}
        for pool in self._pools:
            self._idle.put_nowait(pool)
        self._pixels_that_fit = memory_share(_MEMORY_SHARE) // BYTES_PER_PIXEL
        self._budget = _Budget(config.pixels_in_flight or self._pixels_that_fit)
        self._descriptions: OrderedDict[str, Description] = OrderedDict()
        self._describing: dict[str, asyncio.Task[Description]] = {}
        self.arrivals = Arrivals()
        self._waiting: dict[str, list[tuple[Job, asyncio.Future[bytes]]]] = {}
        self._decoding: dict[str, asyncio.Task[None]] = {}
        self.decodes = 0

    async def start(self) -> None:
        """Start every process now, so that the first request does not wait for it."""
        await asyncio.gather(*(self._run(_ready) for _ in range(self._config.workers)))

    def close(self) -> None:
        """Stop the processes; what they are working on is lost."""
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    async def describe(self, source: Source) -> Description:
        """Return what the headers of `source` say. Raises `RefusalError` with 501 or 403."""
        if (known := self._descriptions.get(source.version)) is not None:
            self._descriptions.move_to_end(source.version)
            return known
        if source.version not in self._describing:
            self._describing[source.version] = asyncio.create_task(self._read(source))
        return await asyncio.shield(self._describing[source.version])

    async def _read(self, source: Source) -> Description:
        try:
            description = await self._run(self._describe, source.path, self._config.max_source_pixels)
        finally:
            del self._describing[source.version]
        self._descriptions[source.version] = description
        while len(self._descriptions) > _DESCRIPTIONS_KEPT:
            self._descriptions.popitem(last=False)
        return description

    async def render(self, source: Source, description: Description, job: Job, arrival: Arrival | None = None) -> bytes:
        """Return the encoded picture. Raises `RefusalError` with 501 where the source turns out to be broken."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source.version, []).append((job, future))
        if arrival:
            arrival.is_ready()
        if source.version not in self._decoding:
            self._decoding[source.version] = asyncio.create_task(self._drain(source, description, arrival))
        return await future

    async def _drain(self, source: Source, description: Description, first: Arrival | None) -> None:
        try:
            while source.version in self._waiting:
                if first:
                    await self.arrivals.none_of(first.identifier, _COMPANY_SECONDS)
                await self._decode(source, description, self._waiting.pop(source.version))
        finally:
            del self._decoding[source.version]

    async def _decode(
        self, source: Source, description: Description, waiting: list[tuple[Job, asyncio.Future[bytes]]]
    ) -> None:
        jobs = tuple(dict.fromkeys(job for job, _ in waiting))
        batch = Batch(source.path, description, jobs)
        try:
            self._require_memory(batch)
            async with self._budget.held(batch.pixels):
                self.decodes += 1
                pictures = dict(zip(jobs, await self._run(self._render, batch), strict=True))
        except Exception as error:  # noqa: BLE001 (the caller that waits for it raises it)
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for job, future in waiting:
            picture = pictures[job]
            if future.done():
                continue
            if isinstance(picture, RefusalError):
                future.set_exception(picture)
            else:
                future.set_result(picture)

    def _require_memory(self, batch: Batch) -> None:
        if batch.pixels > self._pixels_that_fit:
            megabytes = [pixels * BYTES_PER_PIXEL >> 20 for pixels in (batch.pixels, self._pixels_that_fit)]
            raise unreadable(f"it would take {megabytes[0]} MB of memory, and there are {megabytes[1]} MB for it.")

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        for _ in range(2):
            pool = await self._idle.get()
            started = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
            except BrokenProcessPool:
                self._pools.discard(pool)
                pool.shutdown(wait=False)
                pool = self._new_pool()
                self._pools.add(pool)
                # One that died while it was idle is no source's fault: another gets a second chance.
                if time.monotonic() - started > _SECOND_CHANCE_SECONDS:
                    break
            finally:
                self._idle.put_nowait(pool)
        raise RefusalError(500, "The decoder died while reading the source.")

    def _new_pool(self) -> ProcessPoolExecutor:
        """Return a pool of one process: a decoder that dies takes its pool along, and no other source's work."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dlcs_stack.image_server.rendering"])
        return ProcessPoolExecutor(1, mp_context=context, initializer=_begin)


@dataclass(frozen=True)
class Arrival:
    """A request for a picture that has come. `is_ready` is called when it waits for nothing but the decode."""

    identifier: str
    is_ready: Callable[[], None]


class Arrivals:
    """Requests for pictures that have come and are not ready for a decode, by the identifiers of their sources."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._none: dict[str, asyncio.Event] = {}

    @contextmanager
    def counted(self, identifier: str) -> Iterator[Arrival]:
        """Count a request until it is ready, for the time of the block at most."""
        with ExitStack() as counted:
            self._counts[identifier] += 1
            counted.callback(self._remove, identifier)
            yield Arrival(identifier, counted.close)

    async def none_of(self, identifier: str, seconds: float) -> None:
        """Return when there is none, or after this time."""
        if self._counts[identifier]:
            event = self._none.setdefault(identifier, asyncio.Event())
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)

    def _remove(self, identifier: str) -> None:
        self._counts[identifier] -= 1
        if not self._counts[identifier]:
            del self._counts[identifier]
            if event := self._none.pop(identifier, None):
                event.set()


class _Budget:
    """A semaphore over a number of pixels. A request for more than there are gets all of them."""

    def __init__(self, pixels: int) -> None:
        self._total = pixels
        self._free = pixels
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def held(self, pixels: int) -> AsyncIterator[None]:
        wanted = min(pixels, self._total)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            async with self._changed:
                self._free += wanted
                self._changed.notify_all()


def _begin() -> None:
    """Set up a worker process: Ctrl-C is the server's business, and a server that is killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    be_first_to_be_killed()
    prepare()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _ready() -> bool:
    return True
