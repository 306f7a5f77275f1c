"""The customers file in force: read again when it changes, and kept as it last was good when an edit is bad."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Final

from dlcs_assets.customers.config import parse_customers
from dlcs_assets.customers.fields import InvalidConfigError, Problem
from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.errors import ServiceDownError
from dlcs_assets.domain.image_servers import READS_NO_JP2_CAUSE
from dlcs_assets.domain.origin import OriginBucket
from dlcs_assets.settings import Settings

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS: Final = 1.0
_MOST_SHOWN: Final = 20
_LARGEST_BYTES: Final = 10 * 2**20


@dataclass(frozen=True)
class _Known:
    """What the file looked like, what is in force since, and what is wrong with it."""

    looks: tuple[int, ...] | None
    customers: Customers | None
    problem: str | None = None


class NoCustomersError(ServiceDownError):
    """There is no good customers file, and has not been one: everything waits."""


class CustomersFile:
    """A customers file that may be edited at any moment.

    `last_good` is where a copy of it is kept whenever it is good, for processes that start after a bad edit: every
    run is one. `without` are the customers while there is no file; None if there has to be one. `reads_jp2`: whether
    thumbnails can be made from JP2s.
    """

    def __init__(self, path: Path, last_good: Path, without: Customers | None, *, reads_jp2: bool = True) -> None:
        self._path = path
        self._last_good = last_good
        self._without = without
        self._reads_jp2 = reads_jp2
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._known: _Known | None = None
        self._good: Customers | None = None

    def customers(self) -> Customers:
        """Return the customers in force. Raises NoCustomersError."""
        known = self._current()
        if known.customers is None:
            raise NoCustomersError(
                "customers_file_invalid",
                str(known.problem),
                remedy=f"Correct {self._path}: it is read again by itself, and the images go on.",
            )
        return known.customers

    def problem(self) -> str | None:
        """Say what is wrong with the file as it is now, and what is in force; None if nothing is."""
        return self._current().problem

    def _current(self) -> _Known:
        with self._lock:
            now = monotonic()
            if self._known is None or now - self._looked >= SECONDS_BETWEEN_LOOKS:
                self._known = self._look()
                self._looked = now
            return self._known

    def _look(self) -> _Known:
        looks = _looks_of(self._path)
        if self._known is not None and looks == self._known.looks:
            return self._known
        if looks is None and self._without is not None and not self._was_there():
            return _Known(looks, self._without)
        try:
            data = _read(self._path)
            self._good = parse_customers(data, reads_jp2=self._reads_jp2)
        except (InvalidConfigError, OSError) as error:
            self._good = self._good or self._read_last_good()
            problem = self._told(error, in_force=self._good is not None)
            log.warning("%s", problem)
            return _Known(looks, self._good, problem)
        self._keep(data)
        return _Known(looks, self._good)

    def _was_there(self) -> bool:
        return self._good is not None or self._last_good.exists()

    def _told(self, error: InvalidConfigError | OSError, *, in_force: bool) -> str:
        if isinstance(error, InvalidConfigError):
            shown = [f"{self._path}, {problem}" for problem in error.problems[:_MOST_SHOWN]]
            if more := len(error.problems) - len(shown):
                shown.append(f"and {more} more")
            what = "; ".join(shown)
        else:
            what = f"{self._path} can't be read: {error.strerror}"
            if not self._reads_jp2:
                what += f"; without it images become JP2s, and {READS_NO_JP2_CAUSE}"
        return f"{what}. {'The last good one stays in force' if in_force else 'No good one was there before'}."

    def _read_last_good(self) -> Customers | None:
        with suppress(InvalidConfigError, OSError):
            return parse_customers(_read(self._last_good), reads_jp2=self._reads_jp2)
        return None

    def _keep(self, data: bytes) -> None:
        with suppress(OSError):
            if self._last_good.read_bytes() == data:
                return
        try:
            self._last_good.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._last_good.parent, delete=False) as file:
                file.write(data)
            os.replace(file.name, self._last_good)  # noqa: PTH105 (the file's name is text)
        except OSError as error:
            log.warning("no copy of %s could be kept: %s", self._path, error.strerror)


def customers_file(settings: Settings) -> CustomersFile:
    """Return the customers file of these settings: one for the whole process, so that it is looked at once.

    Without the file everything is as the settings say, unless the file was named, or the image server reads no JP2:
    then it has to be there.
    """
    return _shared(
        settings.customers_file.absolute(),
        settings.scratch.absolute(),
        settings.customers,
        settings.s3_origin_buckets,
        named="customers_file" in settings.model_fields_set,
        reads_jp2=settings.thumbnails_of_jp2,
    )


@cache
def _shared(
    path: Path,
    folder: Path,
    customers: tuple[int, ...] | None,
    buckets: tuple[str, ...],
    *,
    named: bool,
    reads_jp2: bool,
) -> CustomersFile:
    copy = folder / f"customers-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}.last-good.yaml"
    # The channels that images have without a file make JP2s.
    required = named or not reads_jp2
    without = None if required else customers_without_file(customers, buckets)
    return CustomersFile(path, copy, without, reads_jp2=reads_jp2)


def customers_without_file(customers: tuple[int, ...] | None, buckets: tuple[str, ...]) -> Customers:
    """Return customers (None: all there are) with the default policies, who may read originals from the buckets."""
    anyone = Customer(0, buckets=dict.fromkeys(buckets, OriginBucket()))
    if customers is None:
        return Customers({}, others=anyone)
    return Customers({number: replace(anyone, number=number) for number in customers})


def _looks_of(path: Path) -> tuple[int, ...] | None:
    """Return what changes when the file does; None if it can't be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise InvalidConfigError([Problem(1, "", f"has more than {_LARGEST_BYTES} bytes; expected a customers file")])
    return data
