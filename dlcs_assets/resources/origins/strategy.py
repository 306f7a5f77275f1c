"""What the origin strategies share: whom they talk to, how long, and what they bring back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.resources.http import Peer, check_deadline

PEER: Final = Peer(
    "The origin",
    "origin",
    ours=False,
    remedy="See whether the origin answers, and correct it if it is wrong; then retry.",
)
CHUNK_BYTES: Final = 2**18


@dataclass(frozen=True)
class Peeked:
    """What is known of an original that was not fetched: its first bytes, and what its server says of it."""

    head: bytes = field(repr=False)
    size: int | None
    content_type: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds for a connection, for the pause between two packets, and for a whole download."""

    connect: float
    read: float
    whole: float


def within(seconds: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass chunks on; raise httpx.ReadTimeout if they go on for longer than that."""
    deadline = time.monotonic() + seconds
    for chunk in chunks:
        check_deadline(deadline)
        yield chunk


def not_found(url: str, said: str) -> PermanentError:
    """Say that there is no original at an origin."""
    return PermanentError(
        "origin_not_found",
        f"The origin {said} for {shown_url(url)}",
        remedy="Put the original there, or correct the origin; then ingest the image again.",
    )


def refused(url: str, said: str) -> PermanentError:
    """Say that an origin does not let us read an original."""
    return PermanentError(
        "origin_refused",
        f"The origin {said} for {shown_url(url)}",
        remedy="Let the DLCS read it there, or correct the origin; then ingest the image again.",
    )


def login_refused(origin: Origin) -> PermanentError:
    """Say that an origin does not take the credentials, and whose they are; never what they are."""
    assert origin.rule is not None
    return PermanentError(
        "origin_login_refused",
        f"The origin refused the credentials of origin strategy {origin.rule} for {shown_url(origin.url)}",
        remedy=f"Correct what is stored at {origin.rule.credentials}, or the rights of that user; then retry.",
    )
