"""Where an original comes from, and by which right it may be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self
from urllib.parse import SplitResult, urlsplit

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.networks import Network
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.s3_uri import S3Location, parse_s3_uri
from dlcs_assets.domain.text import is_storable


class OriginStrategy(StrEnum):
    """How an original is fetched, in the DLCS's words: a line for each strategy.

    `summary`: for people. `schemes`: the addresses that it can read. `with_credentials`, `with_known_hosts`: whether a
    rule has to name them. How it reads is in `dlcs_assets.clients.origins`.
    """

    summary: str
    schemes: frozenset[str]
    with_credentials: bool
    with_known_hosts: bool

    DEFAULT = "default", "over HTTP", {"http", "https"}
    BASIC_HTTP = "basic-http-authentication", "over HTTP with user and password", {"http", "https"}, True
    S3_AMBIENT = "s3-ambient", "from S3 with our own credentials", {"s3", "http", "https"}
    SFTP = "sftp", "over SFTP", {"sftp"}, True, True

    def __new__(
        cls,
        value: str,
        summary: str = "",
        schemes: Iterable[str] = (),
        with_credentials: bool = False,
        with_known_hosts: bool = False,
    ) -> Self:
        """Make a member from its line."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.summary = summary
        member.schemes = frozenset(schemes)
        member.with_credentials = with_credentials
        member.with_known_hosts = with_known_hosts
        return member


@dataclass(frozen=True, slots=True)
class OriginBucket:
    """Where a bucket is, if not where our own storage is; the image server reaches our own storage only."""

    endpoint: str | None = None
    region: str | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the image server can't read it."""
        return self.endpoint is not None or self.region is not None


@dataclass(frozen=True, slots=True)
class OriginStrategyRule:
    """A customer's rule: origins in which `finds` finds something are fetched by this strategy.

    `finds` searches case-insensitively, unanchored, and may raise `PermanentError` where that takes too long.
    `credentials` says where user and password are, never what they are; where that is the rule itself, `secret` has
    them, for no one to see. `known_hosts` are lines as OpenSSH has them.
    """

    id: str
    strategy: OriginStrategy
    finds: Callable[[str], bool] = field(repr=False)
    order: int = 0
    optimised: bool = False
    credentials: str | None = None
    known_hosts: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"'{self.id}' ({self.strategy})"


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin and its strategy.

    `location` is set for `s3-ambient` only: the ambient credentials can't be used for any other origin by mistake.
    `optimised` says that the image server reads it where it is. `note` says what a person may wonder about. `rule` is
    the customer's that matched, if one did; `bucket` says where the location's bucket is. `private_networks` are those
    of the customer, from which it may be read in addition to public addresses.
    """

    url: str
    strategy: OriginStrategy
    location: S3Location | None
    optimised: bool
    note: str | None
    rule: OriginStrategyRule | None = None
    bucket: OriginBucket = OriginBucket()
    private_networks: tuple[Network, ...] = ()


def classify_origin(
    url: str,
    *,
    customer: int,
    portal_bucket: str | None,
    ambient_buckets: Collection[str],
    own_buckets: Collection[str],
    rules: Sequence[OriginStrategyRule] = (),
) -> Origin:
    """Return how an origin is fetched. Raises `PermanentError` for one that can't be, or must not be.

    The first of the rules, by their order, that finds something decides; then come the portal's bucket and the listed
    ones. The ambient credentials reach everything of ours, so they are used for listed buckets only, whatever a rule
    says, and never for our own storage and thumbnails, which hold every customer's images. Of the portal's bucket a
    customer has what is under its own number.
    """
    url = url.strip()
    if not url:
        raise PermanentError("origin_missing", "The image has no origin.", remedy="Register it with an origin.")
    location = parse_s3_uri(url)
    is_portal = location is not None and location.bucket == portal_bucket and portal_bucket not in own_buckets
    rule = next((rule for rule in sorted(rules, key=lambda rule: rule.order) if rule.finds(url)), None)
    if rule is not None and rule.strategy is not OriginStrategy.S3_AMBIENT:
        return _by_rule(url, rule)
    if location is None:
        if rule is not None:
            raise _mismatch(url, rule)
        return _web_origin(url, note=None)
    if is_portal and location.key.startswith(f"{customer}/"):
        return _s3_origin(url, location, rule, optimised=rule is None or rule.optimised)
    if is_portal:
        if not location.key:
            raise _malformed(url)
        raise PermanentError(
            "origin_of_another_customer",
            f"The origin {shown_url(url)} is not under '{customer}/' in the upload bucket.",
            remedy=f"Upload the original to {customer}/space/asset, and register it with that address.",
        )
    if location.bucket not in own_buckets and location.bucket in ambient_buckets:
        return _s3_origin(url, location, rule, optimised=rule is not None and rule.optimised)
    if rule is not None or url.lower().startswith("s3://"):
        raise PermanentError(
            "origin_not_allowed",
            f"The bucket '{location.bucket}' of origin {shown_url(url)} is not one that may be read from.",
            remedy=(
                f"Name it under buckets of customer {customer} in the customers file, or without one in "
                "DLCS_S3_ORIGIN_BUCKETS; the buckets of storage and thumbnails are never origins."
            ),
        )
    return _web_origin(url, note=f"read over plain HTTP: the bucket '{location.bucket}' is not listed as an origin")


def _by_rule(url: str, rule: OriginStrategyRule) -> Origin:
    parts = _parts(url)
    if parts.scheme not in rule.strategy.schemes:
        raise _mismatch(url, rule)
    if rule.strategy is OriginStrategy.BASIC_HTTP and parts.username is not None:
        # A regex without end finds https://partner.example in https://partner.example@elsewhere.example as well.
        raise _malformed(url)
    if rule.strategy is OriginStrategy.SFTP and (parts.query or parts.fragment or parts.path.endswith("/")):
        raise _malformed(url)
    return Origin(url, rule.strategy, None, optimised=False, note=None, rule=rule)


def _s3_origin(url: str, location: S3Location, rule: OriginStrategyRule | None, *, optimised: bool) -> Origin:
    if not location.key:
        raise _malformed(url)
    return Origin(url, OriginStrategy.S3_AMBIENT, location, optimised, None, rule)


def _web_origin(url: str, *, note: str | None) -> Origin:
    scheme = _parts(url).scheme
    if scheme == "s3":
        raise _malformed(url)
    if scheme == "sftp":
        raise PermanentError(
            "origin_strategy_missing",
            f"The origin {shown_url(url)} matches no origin strategy of the customer.",
            remedy="Add one of strategy sftp, with credentials and known hosts, to the customers file.",
        )
    return Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=note)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _malformed(url) from error
    if not any(parts.scheme in strategy.schemes for strategy in OriginStrategy):
        raise PermanentError(
            "origin_scheme_not_supported",
            f"The origin {shown_url(url)} is neither an http(s), nor an s3, nor an sftp address.",
            remedy="Give an origin that starts with https://, http://, s3:// or sftp://.",
        )
    if not host or port == 0 or not is_storable(url):
        raise _malformed(url)
    return parts


def _mismatch(url: str, rule: OriginStrategyRule) -> PermanentError:
    return PermanentError(
        "origin_strategy_mismatch",
        f"The origin {shown_url(url)} matches the origin strategy {rule}, which can't read such an address.",
        remedy="Correct the strategy's regex in the customers file, or the origin.",
    )


def _malformed(url: str) -> PermanentError:
    return PermanentError(
        "origin_malformed",
        f"The origin {shown_url(url)} is not a complete address.",
        remedy="Give scheme, host and path, or s3://bucket/key.",
    )
