"""`dlcs metrics`: the numbers by which an installation is watched, once or over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Final

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.output import echo, echo_data
from dlcs_assets.clients.sqs import Queues
from dlcs_assets.ledger.engine import UNAVAILABLE
from dlcs_assets.metrics.measuring import measure
from dlcs_assets.metrics.metric import CONTENT_TYPE, openmetrics

LOOPBACK: Final = "127.0.0.1"


def metrics(
    *,
    serve: Annotated[
        int | None, typer.Option(metavar="PORT", help="Answer GET /metrics on this port until Ctrl-C.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to answer on, with --serve.")] = LOOPBACK,
) -> None:
    """Print or serve metrics as OpenMetrics text. For Prometheus and its like."""
    settings = load_settings()
    queues = Queues(attempts=1, timeout_seconds=5)
    with open_ledger(settings) as ledger:

        def text() -> str:
            return openmetrics(measure(ledger, queues, settings, now=datetime.now(UTC)))

        if serve is None:
            echo_data(text().removesuffix("\n"))
        else:
            _serve(host, serve, text)


def handler(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    """Return what answers GET /metrics with this text, measured each time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "There is /metrics only")
                return
            try:
                body = text().encode()
            except UNAVAILABLE:
                self.send_error(503, "The ledger does not answer")
                return
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: it is asked every few seconds."""

    return Handler


def _serve(host: str, port: int, text: Callable[[], str]) -> None:
    with ThreadingHTTPServer((host, port), handler(text)) as server:
        echo(f"http://{host}:{server.server_port}/metrics", err=True)
        server.serve_forever()
