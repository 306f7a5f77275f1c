"""The service on a free port, in a thread, with real workers; and requests to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from dlcs_stack.appetiser.app import AppetiserConfig, create_app


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        assert self.status == 200, self.body
        return self.body["width"], self.body["height"]

    @property
    def thumbs(self) -> list[tuple[int, int]]:
        assert self.status == 200, self.body
        return [(thumb["width"], thumb["height"]) for thumb in self.body["thumbs"]]


@dataclass(frozen=True)
class Appetiser:
    client: httpx.Client

    def convert(
        self,
        source: Path,
        destination: Path | None = None,
        thumb_dir: Path | None = None,
        *,
        sizes: Sequence[str] = (),
        operation: str = "image-only",
        **changes: Any,
    ) -> Answer:
        body = {
            "jobId": "3f2",
            "imageId": "page-1",
            "origin": "https://example.org/page-1",
            "source": str(source),
            "operation": operation,
            "thumbIIIFSizes": list(sizes),
            "optimisation": "kdu_max",
        }
        if destination:
            body["destination"] = str(destination)
        if thumb_dir:
            body["thumbDir"] = str(thumb_dir)
        return self.post(body | changes)

    def post(self, body: dict[str, Any]) -> Answer:
        response = self.client.post("/convert", json=body)
        return Answer(response.status_code, response.json())


@contextlib.contextmanager
def served(config: AppetiserConfig) -> Iterator[Appetiser]:
    listener = socket.create_server(("127.0.0.1", 0))  # requests wait in its backlog until the server is up
    server = uvicorn.Server(uvicorn.Config(create_app(config), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            yield Appetiser(client)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
