"""Dagster's webserver behind a front door: it has no login, so it answers no foreign page.

    python -m dlcs_assets.instance.webserver -w WORKSPACE [-h HOST] [-p PORT] [--allow-host NAME] [--read-only]

Everything else is Dagster's own, by the methods that it has for being overridden.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dlcs_stack.front_door import AsgiFrontDoor, FrontDoor, add_option

# As Dagster's own command has them.
STATEMENT_TIMEOUT_MILLISECONDS: Final = 15_000
POOL_RECYCLE_SECONDS: Final = 3600
POOL_MAX_OVERFLOW: Final = 20
POLL_MILLISECONDS: Final = 2000

# A page's form can send neither without asking first.
_GRAPHQL_TYPES: Final = frozenset({"application/json", "application/graphql"})


class GuardedWebserver(DagsterWebserver[WorkspaceProcessContext, WorkspaceRequestContext]):
    """Dagster's webserver, as far as a request is its own pages' or a program's."""

    def __init__(self, context: WorkspaceProcessContext, hosts: Sequence[str], path_prefix: str = "") -> None:
        self._door = FrontDoor(tuple(hosts), links=True)
        super().__init__(context, path_prefix, POLL_MILLISECONDS)

    def build_middleware(self) -> list[Middleware]:
        """Put the front door before all else, web sockets included."""
        return [Middleware(AsgiFrontDoor, door=self._door), *super().build_middleware()]

    def make_security_headers(self) -> dict[str, str]:
        """Let no page show the UI in a frame of its own, under buttons of its own."""
        return {**super().make_security_headers(), "X-Frame-Options": "DENY"}

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Run only what is posted as what it is: a picture's address or a form of a foreign page is neither."""
        if request.method != "POST":
            if "text/html" not in request.headers.get("accept", ""):  # the playground, which posts its queries
                return PlainTextResponse("Queries are to be posted.", 405, headers={"Allow": "POST"})
        elif request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _GRAPHQL_TYPES:
            return PlainTextResponse("Queries are to be posted as application/json.", 415)
        answer: Response = await super().graphql_http_endpoint(request)
        return answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal comes."""
    options = _parser().parse_args(arguments)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MILLISECONDS, POOL_RECYCLE_SECONDS, POOL_MAX_OVERFLOW)
        target = WorkspaceFileTarget(paths=options.workspace)
        with WorkspaceProcessContext(instance, target, read_only=options.read_only) as context:
            app = GuardedWebserver(context, options.allow_host, options.path_prefix).create_asgi_app()
            uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dlcs_assets.instance.webserver", add_help=False)
    add = parser.add_argument
    add("--help", action="help", help="show this, and end")
    add("-w", "--workspace", action="append", required=True, help="the workspace.yaml; repeatable")
    add("-h", "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("-p", "--port", type=int, default=3000, help="port to listen on (default: %(default)s)")
    add("-l", "--path-prefix", default="", help="path under which the UI is, such as /dagster")
    add("--read-only", action="store_true", help="launch, stop and wipe nothing")
    add_option(parser)
    return parser


if __name__ == "__main__":
    main()
