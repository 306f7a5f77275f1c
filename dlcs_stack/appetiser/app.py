"""The HTTP service: `GET /ping`, `GET /config`, `POST /convert`."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dlcs_stack.appetiser.convert import JPEG_QUALITY
from dlcs_stack.appetiser.encoder import find_kakadu
from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jobs import Converted, Job
from dlcs_stack.appetiser.models import (
    ConvertRequest,
    ConvertResponse,
    InvalidRequestError,
    Operation,
    Optimisation,
    Thumb,
    no_json,
    read_request,
)
from dlcs_stack.appetiser.pool import ConversionPool
from dlcs_stack.appetiser.source import BYTES_PER_PIXEL
from dlcs_stack.front_door import AsgiFrontDoor, FrontDoor
from dlcs_stack.limits import memory_share

_LOG: Final = logging.getLogger(__name__)
_MEMORY_SHARE: Final = 0.5


@dataclass(frozen=True)
class AppetiserConfig:
    """How the service works. Without `roots` it reads and writes wherever its user may; zeros are chosen by machine.

    `hosts`: names by which it is reached in addition to the loopback's (`front_door.py`).

    `faults`: it does as Appetiser 2.1.0 itself does, what that does badly included (`faults.py`,
    `faulty_conversion.py`), for tests of its clients; `broken_encoder`: and as one that has no Kakadu.
    """

    roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    workers: int = 0
    max_pixels: int = 500_000_000
    pixels_in_flight: int = 0
    time_limit: timedelta = timedelta(seconds=280)  # the DLCS engine hangs up after 300
    faults: bool = False
    broken_encoder: bool = False


def create_app(config: AppetiserConfig | None = None) -> Starlette:
    """Build the service; its workers live as long as its lifespan."""
    service = _Service(config or AppetiserConfig())
    return Starlette(
        routes=[
            Route("/ping", service.ping),
            Route("/config", service.show_config),
            Route("/convert", service.convert, methods=["POST"]),
        ],
        exception_handlers={
            HTTPException: _http_error,
            InvalidRequestError: _invalid_request,
            ConversionError: _conversion_error,
            Exception: _conversion_error,  # a fault of ours, which is logged as well
        },
        middleware=[Middleware(AsgiFrontDoor, door=service.door)],
        lifespan=service.lifespan,
    )


class _Service:
    def __init__(self, config: AppetiserConfig) -> None:
        self._workers = config.workers or os.cpu_count() or 1
        self._pixels_that_fit = memory_share(_MEMORY_SHARE) // BYTES_PER_PIXEL
        self._pixels_in_flight = config.pixels_in_flight or self._pixels_that_fit
        self._roots = tuple(root.resolve() for root in config.roots)
        self.door = FrontDoor(config.hosts)
        self._config = config
        self._kakadu = find_kakadu()

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        self._turns = CapacityLimiter(self._workers)
        self._pool = ConversionPool(
            self._workers, pixels_in_flight=self._pixels_in_flight, time_limit=self._config.time_limit
        )
        try:
            yield
        finally:
            self._pool.close()

    async def ping(self, request: Request) -> Response:
        if self._config.faults and request.method == "HEAD":
            raise HTTPException(405, headers={"Allow": "GET"})
        return JSONResponse({"status": "working"})

    async def show_config(self, _request: Request) -> Response:
        if self._config.faults:
            paths = dict.fromkeys(("KDU_COMPRESS", "KDU_EXPAND", "KDU_LIB", "OUTPUT_DIR"), "/opt/kakadu")
            return JSONResponse({**paths, "JPEG_QUALITY": JPEG_QUALITY})
        shown = asdict(self._config) | {
            "roots": [str(root) for root in self._roots],
            "workers": self._workers,
            "pixels_in_flight": self._pixels_in_flight,
            "time_limit": self._config.time_limit.total_seconds(),
            "encoder": str(self._kakadu or "OpenJPEG"),
            "JPEG_QUALITY": JPEG_QUALITY,
        }
        return JSONResponse(shown)

    async def convert(self, request: Request) -> Response:
        body = await request.body()
        if self._config.faults and not request.headers.get("content-type", "").startswith("application/json"):
            raise no_json(body)
        asked = read_request(body, self._roots, faults=self._config.faults)
        # Here and not in the pool: waiting requests hold no thread, and keep their order.
        converted = await to_thread.run_sync(self._run, asked, limiter=self._turns)
        for note in converted.notes:
            _LOG.warning("%s: %s", asked.image_id, note)
        answer = _response(asked, converted).model_dump(mode="json", by_alias=True)
        # Appetiser's answer has no such field; its clients ignore what they do not know.
        return JSONResponse(answer | ({"notes": converted.notes} if converted.notes else {}))

    def _run(self, asked: ConvertRequest) -> Converted:
        destination = None if asked.operation is Operation.DERIVATIVES_ONLY else asked.destination
        thumb_dir = None if asked.operation is Operation.IMAGE_ONLY else asked.thumb_dir
        if destination is None and asked.operation is not Operation.DERIVATIVES_ONLY:  # only with faults
            raise ConversionError("Command 'kdu_compress -o None' returned non-zero exit status 1.")
        # The JP2 appears by a rename, so it is made on the same file system; a worker that dies leaves nothing.
        parent = destination.parent if destination else None
        try:
            with tempfile.TemporaryDirectory(prefix=".appetiser-", dir=parent) as work_dir:
                return self._pool.convert(
                    Job(
                        source=asked.source,
                        destination=destination,
                        thumb_dir=thumb_dir,
                        sizes=() if asked.operation is Operation.IMAGE_ONLY else asked.thumb_iiif_sizes,
                        optimisation=asked.optimisation or Optimisation.MEDIUM,
                        work_dir=Path(work_dir),
                        max_pixels=self._config.max_pixels,
                        pixels_that_fit=self._pixels_that_fit,
                        kakadu=self._kakadu,
                        faults=self._config.faults,
                        broken_encoder=self._config.broken_encoder,
                    )
                )
        except OSError as error:
            raise ConversionError(f"The destination cannot be written to: {error.strerror}.") from error


def _response(asked: ConvertRequest, converted: Converted) -> ConvertResponse:
    return ConvertResponse(
        job_id=asked.job_id,
        image_id=asked.image_id,
        origin=asked.origin,
        optimisation=asked.optimisation,
        jp2="" if asked.operation is Operation.DERIVATIVES_ONLY else str(asked.destination),
        height=converted.height,
        width=converted.width,
        thumbs=[Thumb(path=str(thumb.path), width=thumb.width, height=thumb.height) for thumb in converted.thumbs],
    )


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"detail": str(getattr(error, "detail", error))}, status_code=status)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": getattr(error, "detail", [])}, status_code=422)


async def _conversion_error(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error) or type(error).__name__}, status_code=500)
