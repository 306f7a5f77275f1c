"""Services of this installation: never an origin, whatever networks are allowed.

They listen on networks that are not public, believe those who reach them, and what they say of one image would be
fetched as another customer's original.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import psutil

from dlcs_assets.domain.networks import Address, is_public, meant_by
from dlcs_assets.settings import Settings

_RESOLVED_SECONDS: Final = 60.0  # containers are given new addresses when they start again
_PORTS: Final = {
    "http": 80,
    "https": 443,
    "postgresql": 5432,
    "postgres": 5432,
    "postgresql+psycopg2": 5432,
    "grpc": 4000,
}
_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_SNS")

Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class OwnService:
    """Where a service of ours listens."""

    name: str
    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> OwnService:
        """Read it as `str` writes it: `images:8182 image server`."""
        place, _, name = text.partition(" ")
        host, _, port = place.rpartition(":")
        return cls(name, host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"{self.place} {self.name}"

    @property
    def place(self) -> str:
        """Host and port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def own_services(settings: Settings, environment: Mapping[str, str]) -> tuple[OwnService, ...]:
    """Return all that settings and environment name, but for the ledger. AWS's own endpoints are public, not ours."""
    history_port = environment.get("DAGSTER_POSTGRES_PORT")
    urls: list[tuple[str, str | None]] = [
        ("image server", settings.image_server_url),
        ("Appetiser", settings.appetiser_url),
        ("S3", settings.s3_endpoint_url),
        *(("AWS endpoint", environment.get(name)) for name in _ENDPOINTS),
        *(("queue", url) for url in (settings.ingest_queue_url, settings.priority_queue_url)),
        *(("queue", url) for url in (settings.uploads_queue_url, settings.update_queue_url)),
        *(("queue", url) for url in (settings.delete_queue_url, settings.forward_queue_url)),
        ("webserver", settings.ui_url),
        ("DLCS's database", settings.database_url.get_secret_value() if settings.database_url else None),
        ("code server", _at("grpc", environment.get("DAGSTER_CODE_SERVER_HOST"), None)),
        ("history", _at("postgresql", environment.get("DAGSTER_POSTGRES_HOST"), history_port)),
    ]
    found = [own_service(name, url) for name, url in urls]
    return tuple({each.place: each for each in found if each is not None}.values())


def own_service(name: str, url: str | None) -> OwnService | None:
    """Return a service by its URL, None if there is no host and port in it."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not host or not port or _plain(host).endswith(_AWS):
        return None
    return OwnService(name, _plain(host), port)


class OwnServices:
    """Recognises them by the address and port that a connection would be made to."""

    def __init__(self, services: Sequence[OwnService], resolve: Resolve) -> None:
        self._services = tuple(services)
        self._resolve = resolve
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], tuple[float, frozenset[Address]]] = {}

    def find(self, host: str, address: str, port: int) -> OwnService | None:
        """Return the service of ours that is reached there, by a host that was looked up, None if it is none.

        Public addresses may be shared, behind a CDN for instance: a service that has one is known by its name.
        """
        meant = set(meant_by(ip_address(address)))
        for service in self._services:
            if service.port == port and (service.host == _plain(host) or self._is_at(service, meant)):
                return service
        return None

    def _is_at(self, service: OwnService, meant: set[Address]) -> bool:
        own = self._addresses(service)
        # This machine has many addresses, and a service may listen on all of them.
        is_here = any(map(_is_here, own)) and any(map(_is_here, meant))
        return is_here or any(not is_public(each) and each in meant for each in own)

    def _addresses(self, service: OwnService) -> frozenset[Address]:
        where, now = (service.host, service.port), time.monotonic()
        with self._lock:
            known = self._known.get(where)
        if known is None or now - known[0] > _RESOLVED_SECONDS:
            found: frozenset[Address] = known[1] if known else frozenset()
            with suppress(OSError):  # no name for now: then no one reaches it by that name either
                found = frozenset(
                    each for text in self._resolve(*where) for each in meant_by(ip_address(text.partition("%")[0]))
                )
            known = (now, found)
            with self._lock:
                self._known[where] = known
        return known[1]


def _at(scheme: str, host: str | None, port: str | None) -> str | None:
    return f"{scheme}://{host}{':' if port else ''}{port or ''}" if host else None


def _plain(host: str) -> str:
    return host.lower().rstrip(".").strip("[]")


def _is_here(address: Address) -> bool:
    return address.is_loopback or address.is_unspecified or address in _own_addresses()


@cache
def _own_addresses() -> frozenset[Address]:
    """Return the addresses of this machine's interfaces."""
    return frozenset(_interfaces())


def _interfaces() -> Iterator[Address]:
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            with suppress(ValueError):  # those of the hardware
                yield ip_address(each.address.partition("%")[0])
