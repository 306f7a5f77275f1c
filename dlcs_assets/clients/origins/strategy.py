"""What the origin strategies share: their interface, limits, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx

from dlcs_assets.clients.aws import S3Clients
from dlcs_assets.clients.content_encoding import ContentEncodingError, UnsupportedContentEncodingError
from dlcs_assets.clients.credentials import Credentials
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.origins.addresses import AddressRefusedError, Resolve
from dlcs_assets.clients.origins.own_services import OwnServices
from dlcs_assets.clients.transfer import Fetched, PartialFile
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.networks import Network
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.text import shown_text

PEER: Final = Peer(
    "The origin",
    "origin",
    is_internal=False,
    remedy="See whether the origin answers, and correct it if it is wrong; then retry.",
)


@dataclass(frozen=True)
class Peeked:
    """What is known of an original that was not fetched: its first bytes, and what its server says of it.

    `packed`: it is compressed where it is. The head is not, and the size is unknown then.
    """

    head: bytes = field(repr=False)
    size: int | None
    content_type: str | None
    version: str | None
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a connection, for the pause between two packets, and for a whole download; and its lowest rate.

    That is in bytes a second, the mean over `rate_window` seconds; 0: none.
    """

    connect: float
    read: float
    whole: float
    lowest_rate: int
    rate_window: float


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What an original is read with: limits, the networks it may be on besides the public one, credentials, clients."""

    limits: Limits
    resolve: Resolve
    own: OwnServices
    networks: frozenset[Network]
    credentials: Credentials | None
    http: httpx.Client
    s3: S3Clients


class OriginReader(Protocol):
    """What a module of a strategy has. Both functions raise the errors of the error tree, codes `origin_*`."""

    def fetch(self, origin: Origin, file: PartialFile, options: FetchOptions) -> Fetched:
        """Download an original to the file; continue where an earlier attempt broke off, if the origin can."""

    def peek(self, origin: Origin, limit: int, options: FetchOptions) -> Peeked:
        """Return what is known of an original that is not fetched, and its first `limit` bytes."""


@contextmanager
def encoding_errors(origin: Origin) -> Iterator[None]:
    """Raise the errors of a Content-Encoding as those of the error tree: the same whatever the origin is."""
    where = shown_url(origin.url)
    try:
        yield
    except ContentEncodingError as error:
        raise TransientError(
            "origin_broke_off", f"The origin at {where} broke off its answer: {error}", remedy=PEER.remedy
        ) from error
    except UnsupportedContentEncodingError as error:
        raise PermanentError(
            "origin_encoding_not_supported",
            f"The origin at {where} has the original packed as '{error}', which is not unpacked",
            remedy="Have it hold and send originals as they are, without Content-Encoding; then ingest the image "
            "again.",
        ) from error


def not_found(url: str, said: str) -> PermanentError:
    """Return the error for an origin that has no original."""
    return PermanentError(
        "origin_not_found",
        f"The origin {said} for {shown_url(url)}",
        remedy="Put the original there, or correct the origin; then ingest the image again.",
    )


def refused(url: str, said: str) -> PermanentError:
    """Return the error for an origin that does not let us read an original."""
    return PermanentError(
        "origin_refused",
        f"The origin {said} for {shown_url(url)}",
        remedy="Let the DLCS read it there, or correct the origin; then ingest the image again.",
    )


def address_refused(origin: Origin, refused: AddressRefusedError) -> PermanentError:
    """Return the error for an origin that is, or leads to, an address that must not be read from."""
    if refused.own is not None:
        return PermanentError(
            "origin_is_own_service",
            f"The origin {shown_url(origin.url)} leads to {shown_text(str(refused))}, where the {refused.own.name} of "
            "this installation is",
            remedy="Correct the origin. If originals are served there too, have them served at another port.",
        )
    return PermanentError(
        "origin_address_refused",
        f"The origin {shown_url(origin.url)} leads to {shown_text(str(refused))}, which is not a public address",
        remedy="Correct the origin; if it is meant, add its network to the customer's private_networks, or without a "
        "customers file to DLCS_PRIVATE_NETWORKS.",
    )


def login_refused(origin: Origin) -> PermanentError:
    """Return the error for an origin that refuses the credentials: it says whose they are, never what they are."""
    assert origin.rule is not None
    return PermanentError(
        "origin_login_refused",
        f"The origin refused the credentials of origin strategy {origin.rule} for {shown_url(origin.url)}",
        remedy=f"Correct what is stored at {origin.rule.credentials or 'the DLCS'}, or the rights of that user; "
        "then retry.",
    )
