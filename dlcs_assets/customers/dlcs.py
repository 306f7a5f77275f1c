"""Customers as the DLCS's database has them; a customers file adds what the DLCS has no table for.

The database is read again every half minute.
A row that cannot be used costs what depends on it, is reported, and holds up nothing else.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Final, TypeVar

from dlcs_assets.clients.credentials import check_reference
from dlcs_assets.clients.dlcs_database import (
    NEWEST_KNOWN,
    DlcsConfiguration,
    DlcsDatabase,
    DlcsDefault,
    DlcsPolicy,
    DlcsStorage,
    DlcsStrategy,
)
from dlcs_assets.customers.file import CustomersFile, NoCustomersError
from dlcs_assets.customers.patterns import compile_search
from dlcs_assets.domain.customers import Customer, Customers, Quota
from dlcs_assets.domain.delivery import Channel, DefaultChannel, Policies, check_thumbs_policy
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.origin import OriginBucket, OriginStrategy, OriginStrategyRule
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.text import shown_text

log = logging.getLogger(__name__)
T = TypeVar("T")

REFRESH_SECONDS: Final = 30.0
SOON_SECONDS: Final = 0.5  # for a customer that is not known, of whom there may be many messages
_SEEDING_CUSTOMER: Final = 1  # has the policies that the DLCS copies for new customers
_MOST_SHOWN: Final = 20


@dataclass(frozen=True)
class FromDlcs:
    """Customers as read from the DLCS, and what of it cannot be used."""

    customers: Mapping[int, Customer] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class DlcsCustomers:
    """The customers of the DLCS's database, as they were within the last half minute, or when it last answered.

    `only` are those that this installation works for; None: all. `buckets` are those that the ambient credentials may
    read originals from, unless the file names others for the customer.
    """

    def __init__(
        self,
        database: DlcsDatabase,
        file: CustomersFile,
        *,
        only: Iterable[int] | None = None,
        buckets: Mapping[str, OriginBucket] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._file = file
        self._only = None if only is None else frozenset(only)
        self._buckets = buckets or {}
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._found: FromDlcs | None = None
        self._error: IngestError | None = None
        self._joined: tuple[FromDlcs, Customers, Customers] | None = None

    def customers(self) -> Customers:
        """Return the customers in force. Raises NoCustomersError."""
        found, added = self._current(), self._file.customers()
        if found is None:
            error = self._error
            assert error is not None
            raise NoCustomersError(error.code, error.cause, remedy=error.remedy)
        joined = self._joined
        if joined is None or joined[0] is not found or joined[1] is not added:
            joined = self._joined = (found, added, self._join(found, added))
        return joined[2]

    def find(self, number: int) -> Customer | None:
        """Return a customer; one that is not known may have come since the database was read."""
        found = self.customers().find(number)
        if found is None and (self._only is None or number in self._only):
            self._current(older_than=SOON_SECONDS)
            found = self.customers().find(number)
        return found

    def problem(self) -> str | None:
        """Return what is wrong with the database, its rows or the file, and what is in force; None if nothing is."""
        found, error = self._current(), self._error
        problems = [problem] if (problem := self._file.problem()) else []
        if error is not None:
            state = "What it said last stays in force" if found else "Nothing is known of customers, and all waits"
            problems.append(f"{error}. {state}")
        if found is not None:
            problems += _shown([*found.problems, *self._missing_in_file(found)])
        return "; ".join(problems) or None

    def outdated(self) -> str | None:
        """Return why the database could not be read of late; None if it was."""
        self._current()
        return None if self._error is None else f"{self._error}. What it said last stays in force"

    def _missing_in_file(self, found: FromDlcs) -> Iterator[str]:
        """Yield where the DLCS and the file do not fit together."""
        try:
            added, customers = self._file.customers().by_number, self.customers().by_number
        except NoCustomersError:  # reported already
            return
        for number in sorted(added.keys() - found.customers.keys()):
            yield f"The customers file names customer {number}, whom the DLCS does not have"
        for customer in customers.values():
            for rule in customer.rules:
                if rule.strategy.with_known_hosts and not rule.known_hosts:
                    yield (
                        f"Customer {customer.number} has the origin strategy '{shown_text(rule.id)}' of "
                        f"{rule.strategy}, and no known_hosts in the customers file: its originals cannot be fetched"
                    )

    def _current(self, older_than: float = REFRESH_SECONDS) -> FromDlcs | None:
        """Return what was read last, after reading it again if it is old.

        One thread reads; others wait for it only if there is nothing else, or if they ask for what is new.
        """
        waits = self._found is None or older_than < REFRESH_SECONDS
        if self._clock() - self._read_at < older_than or not self._lock.acquire(blocking=waits):
            return self._found
        try:
            if self._clock() - self._read_at >= older_than:
                self._read()
        finally:
            self._lock.release()
        return self._found

    def _read(self) -> None:
        before = self._found.problems if self._found else ()
        try:
            self._found = read_configuration(self._database.configuration())
            self._error = None
        except IngestError as error:
            if str(error) != str(self._error):
                log.warning("%s", error)
            self._error = error
        finally:
            self._database.close()  # what is forked from this process must not share a connection
        self._read_at = self._clock()
        if self._found and self._found.problems != before:
            for problem in _shown(self._found.problems):
                log.warning("%s", problem)

    def _join(self, found: FromDlcs, added: Customers) -> Customers:
        """Return what both say. Of a customer that the DLCS does not have the file cannot say anything."""
        chosen = {
            number: customer
            for number, customer in found.customers.items()
            if self._only is None or number in self._only
        }
        return Customers({number: self._with(customer, added.find(number)) for number, customer in chosen.items()})

    def _with(self, customer: Customer, added: Customer | None) -> Customer:
        if added is None:
            return replace(customer, buckets=self._buckets)
        rules = tuple(
            replace(rule, known_hosts=added.known_hosts) if rule.strategy.with_known_hosts else rule
            for rule in customer.rules
        )
        return replace(
            customer,
            rules=rules,
            buckets=added.buckets or self._buckets,
            private_networks=added.private_networks,
            runs_in_flight=added.runs_in_flight,
            known_hosts=added.known_hosts,
        )


def _shown(problems: Sequence[str]) -> list[str]:
    shown = list(problems[:_MOST_SHOWN])
    return [*shown, f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else shown


def read_configuration(rows: DlcsConfiguration) -> FromDlcs:
    """Return the customers that these rows come to, and what is wrong with rows."""
    problems: list[str] = []
    if rows.layout.is_newer:
        problems.append(
            f"The DLCS's database is newer than this software knows ({shown_text(rows.layout.migration)}, after "
            f"{NEWEST_KNOWN}): see whether there is a newer version of it"
        )
    strategies, defaults = _by_customer(rows.strategies), _by_customer(rows.defaults)
    policies, storage = _by_customer(rows.policies), {each.customer: each for each in rows.storage}
    seeded = policies.get(_SEEDING_CUSTOMER, ())
    customers = {
        number: Customer(
            number,
            policies=_policies(number, policies.get(number, ()), seeded, defaults.get(number, ()), problems),
            rules=tuple(_rule(each, problems) for each in strategies.get(number, ())),
            quota=_quota(storage.get(number), problems),
        )
        for number in rows.customers
    }
    return FromDlcs(customers, tuple(dict.fromkeys(problems)))


def _by_customer(rows: Sequence[T]) -> dict[int, list[T]]:
    found = defaultdict[int, list[T]](list)
    for row in rows:
        customer: Any = row
        found[customer.customer].append(row)
    return found


def _policies(
    number: int,
    own: Sequence[DlcsPolicy],
    seeded: Sequence[DlcsPolicy],
    defaults: Sequence[DlcsDefault],
    problems: list[str],
) -> Policies:
    """Return a customer's policies: its own, those of the system, and what was there before each had copies."""
    thumbs: dict[str, tuple[str, ...]] = {}
    unusable: dict[tuple[str, str], str] = {}
    chosen = {(row.channel, row.name): row for row in (*seeded, *own)}
    for (channel, name), row in chosen.items():
        if channel != Channel.THUMBS:
            continue
        try:
            thumbs[name] = _sizes(name, row.data)
        except ValueError as error:
            unusable[channel, name] = f"cannot be applied: {error}"
            problems.append(
                f"DeliveryChannelPolicies {row.id} ('{shown_text(name)}' of customer {row.customer}) {error}"
            )
    return Policies(
        thumbs,
        image=frozenset(name for channel, name in chosen if channel == Channel.IIIF_IMG),
        defaults=tuple(_default(each) for each in defaults if _is_known(each, number, problems)),
        is_seeded=False,
        unusable=unusable,
    )


def _sizes(name: str, data: str | None) -> tuple[str, ...]:
    """Read the sizes of a thumbs policy. Raises ValueError, with what they are instead."""
    try:
        sizes = json.loads(data or "")
    except (ValueError, RecursionError):
        raise ValueError("has PolicyData that is not JSON; expected a list of sizes") from None
    if not isinstance(sizes, list) or not all(isinstance(size, str) for size in sizes):
        raise ValueError("has PolicyData that is no list of sizes")
    try:
        check_thumbs_policy(name, sizes)
    except ValueError as error:
        raise ValueError(f"has PolicyData that is of no use: {error}") from None
    return tuple(dict.fromkeys(sizes))


def _is_known(row: DlcsDefault, number: int, problems: list[str]) -> bool:
    if row.channel in list(Channel):
        return True
    problems.append(f"DefaultDeliveryChannels of customer {number} name a channel '{shown_text(row.channel)}'; ignored")
    return False


def _default(row: DlcsDefault) -> DefaultChannel:
    return DefaultChannel(row.media_type, Channel(row.channel), row.policy, row.space)


def _rule(row: DlcsStrategy, problems: list[str]) -> OriginStrategyRule:
    """Return a rule. One that cannot be used fails the images that it decides about, or might."""
    where = f"CustomerOriginStrategies '{shown_text(row.id)}' of customer {row.customer}"
    try:
        finds = compile_search(row.regex, row.id)
    except ValueError as error:
        problems.append(f"{where} has a regex that {error}")
        return OriginStrategyRule(row.id, OriginStrategy.DEFAULT, _refusing(row, "regex", lambda _: True), row.order)
    if row.strategy not in list(OriginStrategy):
        problems.append(f"{where} has an unknown strategy '{shown_text(row.strategy)}'")
        return OriginStrategyRule(row.id, OriginStrategy.DEFAULT, _refusing(row, "strategy", finds), row.order)
    strategy = OriginStrategy(row.strategy)
    reference, secret = _credentials(row, strategy, where, problems)
    return OriginStrategyRule(
        row.id,
        strategy,
        finds,
        row.order,
        optimised=row.optimised and strategy is OriginStrategy.S3_AMBIENT,
        credentials=reference,
        secret=secret,
    )


def _credentials(
    row: DlcsStrategy, strategy: OriginStrategy, where: str, problems: list[str]
) -> tuple[str | None, str | None]:
    """Return where a rule's credentials are, or the credentials themselves, which nothing shows."""
    if not strategy.with_credentials or not row.credentials.strip():
        return None, None
    if not row.credentials.startswith("s3://"):
        return None, row.credentials
    try:
        return check_reference(row.credentials), None
    except ValueError:
        problems.append(f"{where} has credentials at an address that is none of S3")
        return None, None


def _refusing(row: DlcsStrategy, what: str, finds: Callable[[str], bool]) -> Callable[[str], bool]:
    def refuse(url: str) -> bool:
        if not finds(url):
            return False
        raise PermanentError(
            "origin_strategy_unusable",
            f"Whether and how {shown_url(url)} may be read cannot be said: the {what} of origin strategy "
            f"'{shown_text(row.id)}' of customer {row.customer} cannot be used here",
            remedy=f"Correct the {what} in the DLCS (.NET's regexes are not all Python's); then retry.",
        )

    return refuse


def _quota(row: DlcsStorage | None, problems: list[str]) -> Quota:
    if row is None:  # the DLCS makes it when it first asks
        return Quota()
    if row.max_bytes is None:
        policy = shown_text(row.policy) or "(none)"
        problems.append(f"CustomerStorage of customer {row.customer} has a storage policy {policy} that is not there")
    return Quota(row.max_images, row.max_bytes, max(row.stored_bytes, 0))
