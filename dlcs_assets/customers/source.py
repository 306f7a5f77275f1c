"""Where the customers of an installation come from: a file, or the DLCS's database and what a file adds to it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol

from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.customers.dlcs import DlcsCustomers
from dlcs_assets.customers.file import CustomersFile
from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.origin import OriginBucket
from dlcs_assets.settings import Settings


class CustomerSource(Protocol):
    """The customers in force, which may change at any moment. Safe to use from several threads."""

    def customers(self) -> Customers:
        """Return the customers in force. Raises `NoCustomersError` while there are none: everything waits."""

    def find(self, number: int) -> Customer | None:
        """Return a customer, None for one that is not configured here; raises as `customers` does.

        One that is not known is looked for again, since customers come while messages about them are on their way.
        """

    def problem(self) -> str | None:
        """Return what is wrong with the configuration as it is now, and what is in force; None if nothing is."""

    def outdated(self) -> str | None:
        """Return why what is in force may not be what is configured by now; None if it is.

        A customer that is not known, or a policy, may be known as soon as that has passed.
        """


def customer_source(settings: Settings) -> CustomerSource:
    """Return the customers of these settings: the same object for the whole process.

    Without the file everything is as the settings say, unless the file was named, or the image server reads no JP2:
    then it has to be there. With a database of the DLCS the file is not needed.
    """
    if settings.database_url is not None:
        return _shared_database(
            settings.database_url.get_secret_value(),
            settings.customers_file.absolute(),
            settings.scratch.absolute(),
            settings.customers,
            settings.s3_origin_buckets,
            named="customers_file" in settings.model_fields_set,
        )
    return _shared_file(
        settings.customers_file.absolute(),
        settings.scratch.absolute(),
        settings.customers,
        settings.s3_origin_buckets,
        named="customers_file" in settings.model_fields_set,
        reads_jp2=settings.thumbnails_of_jp2,
    )


@cache
def _shared_file(
    path: Path,
    folder: Path,
    customers: tuple[int, ...] | None,
    buckets: tuple[str, ...],
    *,
    named: bool,
    reads_jp2: bool,
) -> CustomersFile:
    copy = _copy_of(path, folder)
    # The channels that images have without a file make JP2s.
    required = named or not reads_jp2
    without = None if required else customers_without_file(customers, buckets)
    return CustomersFile(path, copy, without, reads_jp2=reads_jp2)


@cache
def _shared_database(
    url: str,
    path: Path,
    folder: Path,
    customers: tuple[int, ...] | None,
    buckets: tuple[str, ...],
    *,
    named: bool,
) -> DlcsCustomers:
    file = CustomersFile(path, _copy_of(path, folder), None if named else Customers({}), adds_to_dlcs=True)
    return DlcsCustomers(DlcsDatabase(url), file, only=customers, buckets=dict.fromkeys(buckets, OriginBucket()))


def _copy_of(path: Path, folder: Path) -> Path:
    return folder / f"customers-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}.last-good.yaml"


def customers_without_file(customers: tuple[int, ...] | None, buckets: tuple[str, ...]) -> Customers:
    """Return customers (None: all there are) with the default policies, who may read originals from the buckets."""
    any_customer = Customer(0, buckets=dict.fromkeys(buckets, OriginBucket()))
    if customers is None:
        return Customers({}, others=any_customer)
    return Customers({number: replace(any_customer, number=number) for number in customers})
