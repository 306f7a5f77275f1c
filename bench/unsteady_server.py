"""A small HTTP server in the place of an image server: it takes its time, and fails the more the higher its load is.

It draws nothing: whatever image is asked for, it gives the picture that was made for that size before.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection

ANSWER_SECONDS = (0.05, 0.4)


class Failure(StrEnum):
    ERROR_500 = "500"
    BUSY_503 = "503"
    CLOSED = "closed without an answer"
    EMPTY = "200 with an empty body"
    HALF = "200 with half of the picture"


@dataclass(frozen=True)
class Failing:
    """The share of requests that fail, and the share of those that find more than `more_than` in flight."""

    share: float = 0.05
    share_under_load: float = 0.6
    more_than: int = 16


@dataclass
class Served:
    """What the server saw. A request is in flight from when it was read until its answer is with the kernel."""

    requests: int = 0
    failed: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


@dataclass
class UnsteadyServer:
    """`pictures` are bodies by size. What a request meets depends on it, on how often it was made, and on the load."""

    pictures: Mapping[str, bytes]
    failing: Failing | None = None
    answer_seconds: tuple[float, float] = ANSWER_SECONDS
    seed: int = 0
    served: Served = field(default_factory=Served)
    _asked: Counter[str] = field(default_factory=Counter)

    async def run(self, connection: Connection) -> None:
        """Listen and send the port; then, for each True that is received, what was seen until now."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=512)
        connection.send(server.sockets[0].getsockname()[1])
        while await asyncio.to_thread(connection.recv):
            connection.send(self.served)
        server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has gone
            while not writer.is_closing():
                request = await reader.readuntil(b"\r\n\r\n")
                path = request.split(b" ", 2)[1].decode().partition("?")[0]
                self._came()
                try:
                    failure = await self._meets(path)
                    if failure is Failure.CLOSED:
                        writer.close()
                    else:
                        writer.write(self._answer(path, failure))
                finally:
                    self.served.in_flight -= 1
                await writer.drain()

    def _came(self) -> None:
        self.served.requests += 1
        self.served.in_flight += 1
        self.served.max_in_flight = max(self.served.max_in_flight, self.served.in_flight)

    async def _meets(self, path: str) -> Failure | None:
        """Take the time of an answer; return how it fails, as the load was when the request came."""
        self._asked[path] += 1
        drawn = random.Random(f"{self.seed} {path} {self._asked[path]}")
        seconds, failure = drawn.uniform(*self.answer_seconds), None
        if self.failing is not None:
            loaded = self.served.in_flight > self.failing.more_than
            if drawn.random() < (self.failing.share_under_load if loaded else self.failing.share):
                failure = drawn.choice(list(Failure))
                self.served.failed += 1
        await asyncio.sleep(seconds)
        return failure

    def _answer(self, path: str, failure: Failure | None) -> bytes:
        picture = self.pictures[path.split("/")[-3]]
        match failure:
            case Failure.ERROR_500:
                return _response("500 Internal Server Error", b"out of memory", "text/plain")
            case Failure.BUSY_503:
                return _response("503 Service Unavailable", b"too many requests", "text/plain")
            case Failure.EMPTY:
                return _response("200 OK", b"")
            case Failure.HALF:
                return _response("200 OK", picture[: len(picture) // 2])
            case _:
                return _response("200 OK", picture)


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    url: str
    _connection: Connection

    def served(self) -> Served:
        """Ask the server what it saw until now."""
        self._connection.send(True)
        served: Served = self._connection.recv()
        return served


@contextmanager
def serving(server: UnsteadyServer) -> Iterator[Running]:
    """Run the server in a process of its own, so that it has its time."""
    context = multiprocessing.get_context("spawn")
    ours, its_own = context.Pipe()
    process = context.Process(target=_serve, args=(server, its_own), daemon=True)
    process.start()
    try:
        yield Running(f"http://127.0.0.1:{ours.recv()}", ours)
    finally:
        process.kill()  # SIGTERM is ignored where SIGINT is (in the background), once Dagster has run
        process.join()


def _serve(server: UnsteadyServer, connection: Connection) -> None:
    asyncio.run(server.run(connection))


def _response(status: str, body: bytes, content_type: str = "image/jpeg") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
