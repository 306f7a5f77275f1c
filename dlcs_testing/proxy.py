"""A real HTTP proxy before a service: it counts what the service is asked, and fails where a test says so."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

MAX_KEPT = 4096  # bytes of a request's body
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Asked:
    method: str
    path: str  # percent-encoded characters are shown as they are meant
    ranged: bool = False
    body: bytes = b""  # its beginning
    sent: int = 0  # bytes of the whole body


@dataclass
class Proxy:
    """`refusing` maps a part of a path, or of a body, to the status and text with which the request is answered.

    `change` makes of a path and the body that the service gave for it what is given instead.
    """

    target: str
    asked: list[Asked] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)  # bytes of each answer's body
    refusing: dict[str, tuple[int, str]] = field(default_factory=dict)
    change: Callable[[str, bytes], bytes] = field(default=lambda _, body: body)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, part: str = "", *, ranged: bool = False) -> int:
        """Count the requests of a method whose path has this part."""
        return sum(each.method == method and part in each.path and each.ranged is ranged for each in self.asked)

    def start(self) -> None:
        """Listen, on the same port as before."""
        handler = type("ProxyHandler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Listen at the URL no more: the service is down."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = unquote(self.path)
        self.proxy.asked.append(Asked(self.command, path, "range" in self.headers, body[:MAX_KEPT], len(body)))
        for part, (status, text) in self.proxy.refusing.items():
            if part in path or part.encode() in body:
                self.give(status, [("Content-Type", "text/plain")], text.encode())
                return
        upstream = http.client.HTTPConnection(urlsplit(self.proxy.target).netloc, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            self.give(answer.status, answer.getheaders(), self.proxy.change(path, answer.read()))
        finally:
            upstream.close()

    def give(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.proxy.answered.append(len(body))
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 (the names by which http.server finds them)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that give up are part of the tests."""
