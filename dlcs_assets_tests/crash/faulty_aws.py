"""A real HTTP proxy before S3 and SQS: it fails, hangs and is gone where a history says so, and knows the moments."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import psutil

from dlcs_testing.poison import process_at

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
HANG_POLL_SECONDS = 0.05


class Moment(StrEnum):
    """Where a process can be killed so that one store has what the next one lacks."""

    RECEIVED = "after receive and before commit"
    COMMITTED = "after commit and before delete"
    STORED = "after the JP2 or original is stored, before the ledger has it"
    UPLOADED = "after the thumbnails' upload and before s.json"
    S_JSON_STORED = "after s.json and before the ledger"


@dataclass(frozen=True)
class Weather:
    """How the proxy behaves now: of the requests `share` are answered 500 or 503; while `hangs`, none is answered."""

    share: float = 0.0
    hangs: bool = False


FINE = Weather()
# Given the process that asked, ends it or not.
Strike = Callable[[psutil.Process], None]


@dataclass
class FaultyAws:
    """It listens before `target`, and is asked by all but those who check."""

    target: str
    port: int
    weather: Weather = FINE
    met: Counter[str] = field(default_factory=Counter)
    _dice: random.Random = field(default_factory=random.Random)
    _armed: dict[Moment, Strike] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def arm(self, moment: Moment, strike: Strike) -> None:
        """Strike the next client that comes to this moment."""
        with self._lock:
            self._armed[moment] = strike

    def calm(self, seed: int) -> None:
        """Forget all that was to happen."""
        with self._lock:
            self._armed.clear()
            self._dice = random.Random(seed)
        self.weather = FINE

    def strikes(self, moment: Moment | None, client_port: int) -> bool:
        """Strike the client if it has come to an armed moment; return whether it was."""
        if moment is None:
            return False
        with self._lock:
            # A client that was killed a moment ago cannot be struck: then the next one to come is.
            if moment not in self._armed or (client := process_at(client_port)) is None:
                return False
            strike = self._armed.pop(moment)
        self.met[moment] += 1
        strike(client)
        return True

    def fails(self) -> HTTPStatus | None:
        """Say how a request is answered that is not to be passed on; waits while nothing is answered."""
        while self.weather.hangs:
            time.sleep(HANG_POLL_SECONDS)
        with self._lock:
            if self._dice.random() >= self.weather.share:
                return None
            return self._dice.choice((HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE))

    @contextmanager
    def serving(self) -> Iterator[None]:
        handler = type("FaultyAwsHandler", (_Handler,), {"aws": self})
        server = _Server(("127.0.0.1", self.port), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield
        finally:
            self.weather = FINE
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    aws: FaultyAws
    _upstream: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        super().finish()
        if self._upstream:
            self._upstream.close()

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        client_port = self.client_address[1]
        if self.aws.strikes(self._moment_before(), client_port):
            self.close_connection = True
            return
        if status := self.aws.fails():
            self.give(status, [("Content-Type", "text/plain")], b"not now")
            return
        status_code, headers, answer = self.ask(body)
        if self.aws.strikes(self._moment_after(status_code, answer), client_port):
            self.close_connection = True
            return
        self.give(status_code, headers, answer)

    def _moment_before(self) -> Moment | None:
        if "DeleteMessage" in self.headers.get("X-Amz-Target", ""):
            return Moment.COMMITTED
        return Moment.UPLOADED if self._puts("/s.json") else None

    def _moment_after(self, status: int, answer: bytes) -> Moment | None:
        if self.headers.get("X-Amz-Target", "").endswith(".ReceiveMessage") and json.loads(answer).get("Messages"):
            return Moment.RECEIVED
        if status != HTTPStatus.OK:
            return None
        if self._puts("/s.json"):
            return Moment.S_JSON_STORED
        return Moment.STORED if self._puts("") and not self._puts(".jpg") else None

    def _puts(self, ending: str) -> bool:
        return self.command == "PUT" and unquote(urlsplit(self.path).path).endswith(ending)

    def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        for last in (False, True):
            if self._upstream is None:
                self._upstream = http.client.HTTPConnection(urlsplit(self.aws.target).netloc, timeout=60)
            try:
                self._upstream.request(self.command, self.path, body, headers)
                answer = self._upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (http.client.HTTPException, OSError):  # it closed the idle connection
                self._upstream.close()
                self._upstream = None
                if last:
                    raise
        raise AssertionError

    def give(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length")
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 (the names by which http.server finds them)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients that are killed are what this is for."""
