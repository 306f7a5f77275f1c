"""The image server's HTTP face: paths, headers, statuses, and a log of what was asked."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from dlcs_stack.front_door import AsgiFrontDoor, FrontDoor
from dlcs_stack.image_server import cantaloupe
from dlcs_stack.image_server.config import Config
from dlcs_stack.image_server.geometry import Limits, canonical_path, resolve
from dlcs_stack.image_server.identifiers import Target, locate, parse_target
from dlcs_stack.image_server.info import CONTEXTS, PROFILES, info_document, info_media_type
from dlcs_stack.image_server.parameters import MEDIA_TYPES
from dlcs_stack.image_server.refusal import RefusalError
from dlcs_stack.image_server.sources import Source, Sources
from dlcs_stack.image_server.workers import Workers

_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Link"}
_PREFLIGHT = {"Access-Control-Allow-Methods": "GET, HEAD, OPTIONS", "Access-Control-Allow-Headers": "*"}
_log = logging.getLogger(__name__)


def create_app(config: Config) -> Starlette:
    """Make the server. Its processes start and stop with the application's lifespan."""
    server = _Server(config)
    return Starlette(
        routes=[
            Route("/health", server.health),
            Route("/{path:path}", server.answer, methods=["GET", "HEAD", "OPTIONS"]),
        ],
        middleware=[Middleware(AsgiFrontDoor, door=FrontDoor(config.hosts, config.viewers, links=True))],
        lifespan=server.lifespan,
    )


class _Server:
    """The handlers, and what they share."""

    _sources: Sources
    _workers: Workers
    _request_log: IO[str] | None = None

    def __init__(self, config: Config) -> None:
        self._config = config
        self._limits = Limits(config.max_pixels, config.max_scale)
        self._resolve = cantaloupe.resolve if config.like_cantaloupe else resolve
        self._kept: dict[
            bytes, Response
        ] = {}  # with all caches on: what was once answered to a path, without its query

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Hold processes, copies and log for as long as the server runs."""
        self._workers = Workers(self._config)
        self._sources = Sources(
            self._config.s3_endpoint, self._config.source_cache_bytes, never_asks_again=self._config.caching
        )
        try:
            if self._config.request_log:
                self._request_log = self._config.request_log.open("a", encoding="utf-8", buffering=1)
            await self._workers.start()
            yield
        finally:
            self._workers.close()
            self._sources.close()
            if self._request_log:
                self._request_log.close()

    async def health(self, _: Request) -> Response:
        """Report that the server works, and how often it fetched from S3 and decoded so far."""
        if self._config.like_cantaloupe:  # whose API is off
            return PlainTextResponse("Forbidden", 403)
        counts = {"status": "ok", "fetches": self._sources.fetches, "decodes": self._workers.decodes}
        return JSONResponse(counts, headers=_CORS)

    async def answer(self, request: Request) -> Response:
        """Answer a request of the Image API; whatever goes wrong becomes a status and a line of text."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={**_CORS, **_PREFLIGHT})
        started = time.perf_counter()
        target: Target | None = None
        path: bytes = request.scope["raw_path"]
        try:
            target = parse_target(path)
            response = self._kept.get(path) or await self._answer(request, target)
            if self._config.caching:
                self._kept[path] = response
        except RefusalError as refusal:
            cut = self._config.like_cantaloupe and cantaloupe.breaks_off(refusal)
            response = _broken_off() if cut else PlainTextResponse(refusal.message, refusal.status)
        except Exception:  # noqa: BLE001 (everything has an answer, and the log has the reason)
            _log.exception("%s failed", request.url.path)
            response = PlainTextResponse("The image server failed; its log says why.", 500)
        response.headers.update(_CORS)
        self._record(request, target, response.status_code, time.perf_counter() - started)
        return response

    async def _answer(self, request: Request, target: Target) -> Response:
        base = f"{request.url.scheme}://{request.url.netloc}{target.base_path}"
        profile = f'<{PROFILES[target.version]}>;rel="profile"'
        if target.what == "base":
            return RedirectResponse(f"{base}/info.json", 303)
        if target.what != "image":
            async with self._opened(target) as source:
                description = await self._workers.describe(source)
            document = info_document(target.version, base, description, self._limits)
            return _info_response(target, document, request.headers.get("accept", ""), profile)
        image = target.image_request()
        with self._workers.arrivals.counted(target.identifier) as arrival:
            async with self._opened(target) as source:
                description = await self._workers.describe(source)
                job = self._resolve(image, description.width, description.height, self._limits)
                canonical = canonical_path(target.version, job, description.width, description.height, self._limits)
                picture = await self._workers.render(source, description, job, arrival)
        links = f'{profile},<{base}/{canonical}>;rel="canonical"'
        return Response(picture, media_type=MEDIA_TYPES[job.format], headers={"Link": links})

    @asynccontextmanager
    async def _opened(self, target: Target) -> AsyncIterator[Source]:
        location = await asyncio.to_thread(locate, target.identifier, self._config.path_roots)
        async with self._sources.opened(location) as source:
            yield source

    def _record(self, request: Request, target: Target | None, status: int, seconds: float) -> None:
        if self._request_log is None:
            return
        line = {
            "identifier": target.identifier if target else None,
            "version": target.version if target else None,
            "asked": target.asked if target else request.url.path,
            "query": request.url.query,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        }
        self._request_log.write(json.dumps(line, ensure_ascii=False) + "\n")


def _broken_off() -> Response:
    """Return an answer whose connection is closed in the middle of a JPEG."""

    async def beginning() -> AsyncIterator[bytes]:
        yield b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"
        raise EOFError("the source ends too early")

    return StreamingResponse(beginning(), media_type=MEDIA_TYPES["jpg"])


def _info_response(target: Target, document: dict[str, object], accept: str, profile: str) -> Response:
    media_type = info_media_type(target.version, accept)
    links = profile
    if media_type == "application/json":
        context = CONTEXTS[target.version]
        links += f',<{context}>;rel="http://www.w3.org/ns/json-ld#context";type="application/ld+json"'
    body = json.dumps(document, ensure_ascii=False, indent=2).encode()
    return Response(body, media_type=media_type, headers={"Link": links, "Vary": "Accept"})
