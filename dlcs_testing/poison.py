"""A poisonous image: an origin that kills each process that asks for it, as a picture does that crashes a library."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil


@dataclass
class PoisonousOrigin:
    """Its address, and the processes that it has killed."""

    url: str = ""
    killed: list[int] = field(default_factory=list)

    def kill_client(self, port: int) -> None:
        """Kill the process that has this end of a connection."""
        with suppress(psutil.NoSuchProcess):
            if client := process_at(port):
                client.kill()
                self.killed.append(client.pid)


def process_at(port: int) -> psutil.Process | None:
    """Find the process that has this end of a connection."""
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            with suppress(psutil.NoSuchProcess):
                return psutil.Process(connection.pid)
    return None


@contextmanager
def poisonous_origin() -> Iterator[PoisonousOrigin]:
    """Serve the poisonous original on a free port of the loopback address."""
    origin = PoisonousOrigin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin.kill_client(self.client_address[1])
            self.close_connection = True

        do_HEAD = do_GET  # noqa: N815 (http.server's name)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    origin.url = f"http://127.0.0.1:{server.server_port}/poison.jpg"
    try:
        yield origin
    finally:
        server.shutdown()
        server.server_close()
