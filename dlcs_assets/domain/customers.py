"""What a customer may do and gets without asking: its policies, its default channels, its origin strategies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from dlcs_assets.domain.delivery import DEFAULT_POLICIES, Policies
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.networks import Network
from dlcs_assets.domain.origin import Origin, OriginBucket, OriginStrategyRule, classify_origin


@dataclass(frozen=True, slots=True)
class Quota:
    """What a customer may have stored at most: images, and bytes of originals and JP2s. None: without a limit.

    `counted_bytes` are what another system counts as stored, of ours and of its own.
    """

    images: int | None = None
    bytes: int | None = None
    counted_bytes: int = 0


@dataclass(frozen=True)
class Customer:
    """A customer's configuration. `buckets` are those that the ambient credentials may read originals from for it.

    `runs_in_flight` is how many runs of its images there may be at a time, in all lanes but priority and delete; None:
    as the settings say. `known_hosts` are the SFTP servers that rules of the DLCS lead to, as OpenSSH has them.
    """

    number: int
    policies: Policies = DEFAULT_POLICIES
    rules: tuple[OriginStrategyRule, ...] = ()
    buckets: Mapping[str, OriginBucket] = field(default_factory=dict)
    quota: Quota = Quota()
    runs_in_flight: int | None = None
    private_networks: tuple[Network, ...] = ()
    known_hosts: tuple[str, ...] = ()

    def origin(self, url: str, *, portal_bucket: str | None, own_buckets: Collection[str]) -> Origin:
        """Return how one of its originals is fetched. Raises `PermanentError` as `classify_origin` does."""
        origin = classify_origin(
            url,
            customer=self.number,
            portal_bucket=portal_bucket,
            ambient_buckets=self.buckets.keys(),
            own_buckets=own_buckets,
            rules=self.rules,
        )
        if self.private_networks:
            origin = replace(origin, private_networks=self.private_networks)
        if origin.location is None or origin.location.bucket not in self.buckets:
            return origin
        bucket = self.buckets[origin.location.bucket]
        if origin.optimised and bucket.is_elsewhere:
            note = "not optimised, though its strategy says so: the image server can't read a bucket that is elsewhere"
            return replace(origin, bucket=bucket, optimised=False, note=note)
        return replace(origin, bucket=bucket)


@dataclass(frozen=True)
class Customers:
    """All customers that are configured here. `others`, if set, is what every further customer gets."""

    by_number: Mapping[int, Customer]
    others: Customer | None = None

    def find(self, number: int) -> Customer | None:
        """Return a customer's configuration; None for a customer that is not configured here."""
        if number in self.by_number:
            return self.by_number[number]
        return replace(self.others, number=number) if self.others else None

    def get(self, number: int) -> Customer:
        """Return a customer's configuration. Raises `PermanentError`, code `customer_not_configured`."""
        found = self.find(number)
        if found is None:
            raise PermanentError(
                "customer_not_configured",
                f"Customer {number} is not configured here.",
                remedy="Add the customer to the customers file, or without one to DLCS_CUSTOMERS.",
            )
        return found
