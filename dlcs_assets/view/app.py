"""The pages as an application behind the front door, and the server that runs it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.encryption import WrongKeyError
from dlcs_assets.ledger.engine import UNAVAILABLE, UnusableLedgerError
from dlcs_assets.logs import keep_libraries_quiet
from dlcs_assets.settings import Settings
from dlcs_assets.view.counting_pages import CountingPages
from dlcs_assets.view.image_pages import ImagePages
from dlcs_assets.view.pages import Pages
from dlcs_assets.view.pictures import Pictures, make_image_server
from dlcs_assets.view.queries import UnreadableAddressError
from dlcs_assets.view.site import Site
from dlcs_stack.front_door import AsgiApp, AsgiFrontDoor, FrontDoor, Receive, Scope, Send

_log = logging.getLogger(__name__)
_STATIC: Final = Path(__file__).with_name("static")
# Of all that a page may load or do: its own style, script and pictures, and forms that lead to its own pages.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_NOT_KEPT: Final = (b"cache-control", b"no-store")  # pages say what is in the ledger now


class SecurityHeaders:
    """Adds to each answer what a browser is to obey, whatever made the answer."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers."""

        async def send_with_headers(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))  # type: ignore[call-overload] # a list of pairs of bytes
                given = {name for name, _ in headers}
                more = [*_HEADERS, *([] if _NOT_KEPT[0] in given else [_NOT_KEPT])]
                message = {**message, "headers": [*headers, *more]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ManifestsForViewers:
    """Lets pages of other origins that were named read manifests, and nothing else."""

    def __init__(self, app: AsgiApp, viewers: Collection[str]) -> None:
        self._app = app
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; if it is for a manifest and of such a page, as a request of no page."""
        if scope["type"] != "http" or scope["path"] != "/manifest":
            await self._app(scope, receive, send)
            return
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if len(origins) != 1 or origins[0] not in self._viewers:
            await self._app(scope, receive, send)
            return

        async def send_to_viewer(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))  # type: ignore[call-overload] # a list of pairs of bytes
                allowed = [(b"access-control-allow-origin", origins[0].encode("latin-1")), (b"vary", b"Origin")]
                message = {**message, "headers": [*headers, *allowed]}
            await send(message)

        headers = [each for each in scope["headers"] if each[0] not in {b"origin", b"sec-fetch-site"}]
        await self._app({**scope, "headers": headers}, receive, send_to_viewer)


def create_app(
    open_ledger: Callable[[], Ledger],
    pictures: Pictures,
    settings: Settings,
    *,
    hosts: Sequence[str] = (),
    viewers: Sequence[str] = (),
) -> Starlette:
    """Make the application. The ledger is opened by the first request that needs it, and closed at the end.

    `viewers` are origins whose pages may read manifests, such as `https://viewer.example.org`.
    """
    site = Site(open_ledger, pictures, settings)
    pages, image_pages, counting_pages = Pages(site), ImagePages(site), CountingPages(site)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(counting_pages.close)
        await run_in_threadpool(site.close)

    def unreadable(_request: Request, error: Exception) -> Response:
        return site.sorry(400, "This address cannot be read", str(error))

    def ledger_failed(_request: Request, error: Exception) -> Response:
        _log.warning("The ledger does not answer: %s", type(error).__name__)
        return site.sorry(503, "The ledger does not answer", "Try again in a moment; dlcs doctor says what is wrong.")

    def wrong_key(_request: Request, error: Exception) -> Response:
        return site.sorry(503, "The ledger cannot be read", str(error))

    def service_failed(_request: Request, error: Exception) -> Response:
        _log.warning("A picture cannot be shown: %s", error)
        return PlainTextResponse(str(error), 502)

    def http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:  # noqa: PLR2004 (not found)
            return site.sorry(404, "There is no such page", "It may have been deleted, or never have been there.")
        return PlainTextResponse(error.detail, error.status_code, headers=error.headers)

    return Starlette(
        routes=[
            Route("/", pages.newest),
            Route("/images", pages.wall),
            Route("/find", pages.find),
            Route("/image", image_pages.image),
            Route("/manifest", pages.manifest),
            Route("/zoom", image_pages.zoom),
            Route("/batches", pages.batches),
            Route("/batch", pages.batch),
            Route("/backfills", counting_pages.backfills),
            Route("/failures", pages.failures),
            Route("/customers", counting_pages.customers),
            Route("/numbers", counting_pages.numbers),
            Route("/thumbnail", image_pages.thumbnail),
            Route("/rendering", image_pages.rendering),
            Route("/health", lambda _request: PlainTextResponse("ok")),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(ManifestsForViewers, viewers=frozenset(viewers)),
            Middleware(AsgiFrontDoor, door=FrontDoor(tuple(hosts), links=True)),
        ],
        exception_handlers={
            UnreadableAddressError: unreadable,
            IngestError: service_failed,
            UnusableLedgerError: ledger_failed,
            WrongKeyError: wrong_key,
            DBAPIError: ledger_failed,
            **dict.fromkeys(UNAVAILABLE, ledger_failed),
            HTTPException: http_error,
        },
        lifespan=lifespan,
    )


def serve(settings: Settings, *, host: str, port: int, hosts: Sequence[str] = (), viewers: Sequence[str] = ()) -> None:
    """Serve the pages of an installation until a signal comes."""
    keep_libraries_quiet()
    key = settings.ledger_key.get_secret_value() if settings.ledger_key else None
    s3 = S3ClientFactory(endpoint_url=settings.s3_endpoint_url, read_timeout_seconds=20)
    storage = Storage(s3=s3, storage_bucket=settings.storage_bucket, thumbs_bucket=settings.thumbs_bucket, attempts=1)
    pictures = Pictures(storage, make_image_server(settings), settings)
    app = create_app(lambda: Ledger(settings.ledger_url, key), pictures, settings, hosts=hosts, viewers=viewers)
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
