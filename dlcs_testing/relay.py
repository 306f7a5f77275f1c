"""A TCP relay in front of a server, for what goes wrong between two machines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass
class Relay:
    """Counts connections, and the bytes that came from the server and that went to it."""

    port: int
    connections: int = 0
    bytes: int = 0
    sent: int = 0


@contextmanager
def relay_to(
    port: int, *, break_after: int | None = None, on_break: Callable[[], None] = lambda: None, silent: bool = False
) -> Iterator[Relay]:
    """Pass everything on. Close the first connection after a number of the server's bytes; or never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(listener.getsockname()[1])
        held: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    held.append(client)
                    relay.connections += 1
                    if not silent:
                        server = socket.create_connection(("127.0.0.1", port))
                        held.append(server)
                        limit = break_after if relay.connections == 1 else None
                        threading.Thread(target=_copy, args=(client, server, relay), daemon=True).start()
                        threading.Thread(target=back, args=(server, client, limit), daemon=True).start()

        def back(server: socket.socket, client: socket.socket, limit: int | None) -> None:
            passed = 0
            with suppress(OSError):
                while data := server.recv(65536):
                    client.sendall(data)
                    relay.bytes += len(data)
                    passed += len(data)
                    if limit is not None and passed > limit:
                        on_break()
                        break
            for each in (client, server):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield relay
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for each in held:
                each.close()


def _copy(source: socket.socket, target: socket.socket, relay: Relay) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
            relay.sent += len(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
