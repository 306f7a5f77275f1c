"""Where an original comes from, and by which right it may be read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.s3_uri import S3Location, parse_s3_uri
from dlcs_assets.domain.text import is_storable


class OriginStrategy(StrEnum):
    """How an original is fetched, in the DLCS's words."""

    DEFAULT = "default"
    S3_AMBIENT = "s3-ambient"


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin and its strategy.

    `location` is set for `s3-ambient` only: nobody can use the ambient credentials for any other origin by mistake.
    `optimised` says that the image server reads it where it is. `note` says what a person may wonder about.
    """

    url: str
    strategy: OriginStrategy
    location: S3Location | None
    optimised: bool
    note: str | None


def classify_origin(
    url: str,
    *,
    customer: int,
    portal_bucket: str | None,
    ambient_buckets: Collection[str],
    own_buckets: Collection[str],
) -> Origin:
    """Tell how an origin is fetched. Raises `PermanentError` for one that can't be, or must not be.

    The ambient credentials reach everything of ours, so they are used for listed buckets only, and never for our own
    storage and thumbnails, which hold every customer's images. Of the portal's bucket a customer has what is under
    its own number.
    """
    url = url.strip()
    if not url:
        raise PermanentError("origin_missing", "The image has no origin.", remedy="Register it with an origin.")
    location = parse_s3_uri(url)
    if location is None:
        return _web_origin(url, note=None)
    allowed = location.bucket not in own_buckets
    if allowed and location.bucket == portal_bucket and location.key.startswith(f"{customer}/"):
        return _s3_origin(url, location, optimised=True)
    if allowed and location.bucket != portal_bucket and location.bucket in ambient_buckets:
        return _s3_origin(url, location, optimised=False)
    if allowed and location.bucket == portal_bucket:
        if not location.key:
            raise _malformed(url)
        raise PermanentError(
            "origin_of_another_customer",
            f"The origin {shown_url(url)} is not under '{customer}/' in the upload bucket.",
            remedy=f"Upload the original to {customer}/space/asset, and register it with that address.",
        )
    if url.lower().startswith("s3://"):
        raise PermanentError(
            "origin_not_allowed",
            f"The bucket '{location.bucket}' of origin {shown_url(url)} is not one that may be read from.",
            remedy=(
                "Name it in DLCS_S3_ORIGIN_BUCKETS if all customers may read it; "
                "the buckets of storage and thumbnails are never origins."
            ),
        )
    return _web_origin(
        url, note=f"read over plain HTTP: the bucket '{location.bucket}' is not listed in DLCS_S3_ORIGIN_BUCKETS"
    )


def _s3_origin(url: str, location: S3Location, *, optimised: bool) -> Origin:
    if not location.key:
        raise _malformed(url)
    return Origin(url, OriginStrategy.S3_AMBIENT, location, optimised, None)


def _web_origin(url: str, *, note: str | None) -> Origin:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise _malformed(url) from error
    if parts.scheme not in {"http", "https", "s3"}:
        raise PermanentError(
            "origin_scheme_not_supported",
            f"The origin {shown_url(url)} is neither an http(s) nor an s3 address.",
            remedy="Give an origin that starts with https://, http:// or s3://.",
        )
    if parts.scheme == "s3" or not host or not is_storable(url):
        raise _malformed(url)
    return Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=note)


def _malformed(url: str) -> PermanentError:
    return PermanentError(
        "origin_malformed",
        f"The origin {shown_url(url)} is not a complete address.",
        remedy="Give scheme, host and path, or s3://bucket/key.",
    )
