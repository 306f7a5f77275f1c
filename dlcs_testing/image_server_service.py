"""The image server on a free port, in a thread, with real workers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from dlcs_stack.image_server.app import create_app
from dlcs_stack.image_server.config import Config


@contextmanager
def listening(config: Config) -> Iterator[str]:
    """Run an image server; yield its URL."""
    server = uvicorn.Server(uvicorn.Config(create_app(config), log_level="warning", lifespan="on"))
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        try:
            # Connections wait in the socket's backlog until the server has started.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
