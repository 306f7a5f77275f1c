"""A real HTTP server before an image server that spoils part of its answers, by probability and seed or by load."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image  # noqa: TID253 (a server of the tests, which no run loads)

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
HTML = b"<!doctype html><title>Oh no</title><p>Please come back later."


class Fault(StrEnum):
    SLOW = "slow"
    HANGING = "hanging"
    RESETTING = "resetting"
    ERROR_500 = "500"
    BUSY_503 = "503 with Retry-After"
    TOO_MANY_429 = "429"
    EMPTY = "200 empty"
    TRUNCATED = "200 truncated"
    HTML = "200 HTML"
    WRONG_SIZE = "wrong size"
    WRONG_FORMAT = "wrong format"


STATUSES = {Fault.ERROR_500: 500, Fault.BUSY_503: 503, Fault.TOO_MANY_429: 429}


@dataclass(frozen=True)
class Load:
    """Of requests that find more than `more_than` in flight, `share` are spoiled."""

    more_than: int
    share: float


@dataclass
class Misbehaving:
    """`share` of the requests meet one of `faults`.

    Which ones depends on the seed, on what is asked for (a file's folder or bucket left out) and how often it was
    before: not on what threads do.
    """

    target: str
    faults: Sequence[Fault] = tuple(Fault)
    share: float = 0.0
    seed: int = 0
    load: Load | None = None
    slow_seconds: float = 0.1
    pause_seconds: float = 0.0  # before every answer
    asked: Counter[str] = field(default_factory=Counter)
    met: Counter[Fault] = field(default_factory=Counter)
    max_at_once: int = 0
    port: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None
    _open: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        """How many requests came, those that were spoiled included."""
        return self.asked.total()

    def start(self) -> None:
        """Listen, on the same port as before."""
        handler = type("MisbehavingHandler", (_Handler,), {"behaviour": self})
        self._stopped.clear()
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Break off requests in progress, and listen no more: the server is down."""
        if self._server is None:
            return
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float | None = None) -> None:
        """Wait for so long, or until the server stops."""
        self._stopped.wait(seconds)

    @contextmanager
    def counted(self, path: str) -> Iterator[tuple[Fault | None, random.Random]]:
        """Count a request; return the fault that it meets, and the random numbers for its details."""
        with self._lock:
            what = path.rpartition("%2F")[2]
            self.asked[what] += 1
            self._at_once += 1
            self.max_at_once = max(self.max_at_once, self._at_once)
            drawn = random.Random(f"{self.seed} {what} {self.asked[what]}")
            loaded = self.load is not None and self._at_once > self.load.more_than
            share = self.load.share if self.load is not None and loaded else self.share
            fault = drawn.choice(self.faults) if drawn.random() < share else None
            if fault is not None:
                self.met[fault] += 1
        try:
            yield fault, drawn
        finally:
            with self._lock:
                self._at_once -= 1

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        """Remember a connection for as long as it is open."""
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)


@contextmanager
def misbehaving(target: str, **options: Any) -> Iterator[Misbehaving]:
    server = Misbehaving(target, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Misbehaving

    def handle(self) -> None:
        with self.behaviour.connected(self.connection):
            super().handle()

    def do_GET(self) -> None:
        with self.behaviour.counted(self.path) as (fault, drawn):
            self.behaviour.wait(self.behaviour.pause_seconds)
            if fault in STATUSES:
                self.give(STATUSES[fault], [("Retry-After", "1")] if fault is Fault.BUSY_503 else [], b"Not now.")
            elif fault is Fault.HANGING:
                self.close_connection = True
                self.behaviour.wait()
            elif fault is Fault.RESETTING:
                self.close_connection = True
                # Without lingering a close is a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                status, headers, body = self.ask()
                is_picture = status == HTTPStatus.OK and not self.path.partition("?")[0].endswith("info.json")
                self.give(status, headers, self.spoiled(fault, drawn, body) if is_picture else body)

    def ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(urlsplit(self.behaviour.target).netloc, timeout=60)
        try:
            upstream.request("GET", self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def spoiled(self, fault: Fault | None, drawn: random.Random, picture: bytes) -> bytes:
        match fault:
            case Fault.SLOW:
                self.behaviour.wait(self.behaviour.slow_seconds)
            case Fault.EMPTY:
                return b""
            case Fault.TRUNCATED:
                return picture[: len(picture) // 2]
            case Fault.HTML:
                return HTML
            case Fault.WRONG_SIZE:
                return redrawn(picture, "JPEG", drawn.uniform(0.3, 0.9))
            case Fault.WRONG_FORMAT:
                return redrawn(picture, "PNG", 1)
            case _:
                pass
        return picture

    def give(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients that give up are part of the tests."""


def redrawn(jpeg: bytes, kind: str, scale: float) -> bytes:
    """Encode an image again, at another size or in another format."""
    buffer = BytesIO()
    with Image.open(BytesIO(jpeg)) as image:
        image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale)))).save(buffer, kind)
    return buffer.getvalue()
