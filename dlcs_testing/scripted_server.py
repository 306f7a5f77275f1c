"""A real HTTP server that answers as scripted, faults included, and remembers its requests."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal


@dataclass(frozen=True)
class Answer:
    """`fault`: close the connection without a word, after half of the body, or never answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    fault: Literal["none", "reset", "break off", "hang"] = "none"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Gives `answers` in order, the last one again and again; `by_path` goes first; `work` is done before each.

    A path that is `locked` is answered with 401 unless the request has that Authorization header.
    """

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    by_path: dict[str, Answer] = field(default_factory=dict)
    locked: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    work: Callable[[Asked], None] = lambda _asked: None
    max_at_once: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            if asked.path in self.locked and self.locked[asked.path] != asked.headers.get("authorization"):
                return Answer(401)
            if asked.path in self.by_path:
                return self.by_path[asked.path]
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.max_at_once = max(self.max_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ScriptedServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        answer = self.script.next_answer(asked)
        # Up to the answer: the client may have asked the next thing before this thread would have counted itself out.
        with self.script.counted():
            self.script.work(asked)
        self.give(answer)

    def give(self, answer: Answer) -> None:
        self.close_connection = answer.fault != "none"
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif answer.fault == "hang":
            self.script.released.wait()
        else:
            self.send_whole(answer)

    def send_whole(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in answer.headers}:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(answer.body if answer.fault == "none" else answer.body[: len(answer.body) // 2])

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 (the names by which http.server finds them)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that give up are part of the tests."""


@contextmanager
def scripted_server(*answers: Answer) -> Iterator[ScriptedServer]:
    script = ScriptedServer(answers=list(answers))
    server = Server(("127.0.0.1", 0), type("ScriptedHandler", (Handler,), {"script": script}))
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def refused_url() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
