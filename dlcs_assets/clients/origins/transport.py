"""Connections to web origins: kept for reuse, made to checked addresses only, and watched while they are read."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any, Final

import httpcore
import httpx

from dlcs_assets.clients.http import tls_context
from dlcs_assets.clients.origins.addresses import Resolve, checked_addresses
from dlcs_assets.clients.origins.download_limits import current_watch
from dlcs_assets.clients.origins.own_services import OwnServices
from dlcs_assets.domain.networks import Network

NETWORKS: Final = "private_networks"  # the extension of a request that says which it may lead to
_LAST_PORT: Final = 65535

# httpx names the exceptions of its transport as httpcore does.
_ERRORS: Final = (
    *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "ConnectError", "ReadError", "WriteError"),
    *("LocalProtocolError", "RemoteProtocolError", "UnsupportedProtocol"),
)


class OriginTransport(httpx.BaseTransport):
    """What httpx.HTTPTransport is, without proxies, and with a pool of connections for each set of allowed networks.

    A connection that one customer may have is thus never another's. Each pool knows its connections by the name of the
    host, so TLS is as ever: certificates are checked against the name, whatever the address. Reads are watched by the
    thread's watch.
    """

    def __init__(self, resolve: Resolve, connections: int, own: OwnServices) -> None:
        self._resolve = resolve
        self._own = own
        self._connections = connections
        self._tls = tls_context(trust_env=True)
        self._lock = threading.Lock()
        self._pools: dict[frozenset[Network], httpcore.ConnectionPool] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the headers of the answer. Raises httpx errors and AddressRefusedError."""
        url = request.url
        if url.scheme not in {"http", "https"} or not url.host:
            raise httpx.UnsupportedProtocol("neither http nor https")
        if url.port is not None and not 0 < url.port <= _LAST_PORT:
            raise httpx.InvalidURL("not a port")
        assert isinstance(request.stream, httpx.SyncByteStream)
        asked = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _errors():
            answer = self._pool(frozenset(request.extensions[NETWORKS])).handle_request(asked)
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    def _pool(self, allowed: frozenset[Network]) -> httpcore.ConnectionPool:
        with self._lock:
            if allowed not in self._pools:
                self._pools[allowed] = httpcore.ConnectionPool(
                    ssl_context=self._tls,
                    max_connections=self._connections,
                    keepalive_expiry=5.0,
                    network_backend=_CheckedNetwork(self._resolve, allowed, self._own),
                )
            return self._pools[allowed]


class _CheckedNetwork(httpcore.NetworkBackend):
    """The network, as far as it may be reached."""

    def __init__(self, resolve: Resolve, allowed: Collection[Network], own: OwnServices) -> None:
        self._resolve = resolve
        self._own = own
        self._allowed = allowed
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            *others, last = checked_addresses(host, port, self._allowed, self._resolve, self._own)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

        def connected(address: str) -> httpcore.NetworkStream:
            seconds = current_watch().seconds_left(timeout)
            return _WatchedStream(self._network.connect_tcp(address, port, seconds, local_address, socket_options))

        for address in others:
            try:
                return connected(address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return connected(last)


class _WatchedStream(httpcore.NetworkStream):
    """A connection whose limits are checked at every read."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return current_watch().receive(lambda seconds: self._stream.read(max_bytes, seconds), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, current_watch().seconds_left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = current_watch().seconds_left(timeout)
        return _WatchedStream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _errors():
            yield from self._stream

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except tuple(getattr(httpcore, name) for name in _ERRORS) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
