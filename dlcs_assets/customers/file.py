"""The customers file in force: read again when it changes, and kept as it last was good when an edit is bad."""

from __future__ import annotations

import logging
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from dlcs_assets.customers.config import parse_customers
from dlcs_assets.customers.fields import InvalidConfigError, Problem
from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.errors import ServiceDownError
from dlcs_assets.domain.image_servers import READS_NO_JP2_CAUSE

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS: Final = 1.0
_MAX_SHOWN: Final = 20
_MAX_FILE_BYTES: Final = 10 * 2**20


@dataclass(frozen=True)
class _State:
    """What the file looked like, what is in force since, and what is wrong with it."""

    fingerprint: tuple[int, ...] | None
    customers: Customers | None
    problem: str | None = None


class NoCustomersError(ServiceDownError):
    """There is no good customers file, and has not been one: everything waits."""


class CustomersFile:
    """A customers file that may be edited at any moment.

    `last_good` is where a copy of it is kept whenever it is good, for processes that start after a bad edit: every
    run is one. `without` are the customers while there is no file; None if there has to be one. They stay in force,
    too, when the first file there is has a mistake: next to `last_good` it is kept that there was none. `reads_jp2`:
    whether thumbnails can be made from JP2s. `adds_to_dlcs`: it says only what the DLCS's database does not.
    """

    def __init__(
        self,
        path: Path,
        last_good: Path,
        without: Customers | None,
        *,
        reads_jp2: bool = True,
        adds_to_dlcs: bool = False,
    ) -> None:
        self._path = path
        self._last_good = last_good
        self._was_without = last_good.with_suffix(".none")
        self._without = without
        self._reads_jp2 = reads_jp2
        self._adds_to_dlcs = adds_to_dlcs
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._state: _State | None = None
        self._good: Customers | None = None

    def customers(self) -> Customers:
        """Return the customers in force. Raises NoCustomersError."""
        state = self._current()
        if state.customers is None:
            raise NoCustomersError(
                "customers_file_invalid",
                str(state.problem),
                remedy=f"Correct {self._path}: it is read again automatically, and the images continue.",
            )
        return state.customers

    def find(self, number: int) -> Customer | None:
        """Return a customer; None for one that is not configured here. Raises NoCustomersError."""
        return self.customers().find(number)

    def problem(self) -> str | None:
        """Return what is wrong with the file as it is now, and what is in force; None if nothing is."""
        return self._current().problem

    def outdated(self) -> str | None:
        """Return what keeps the file as it is now from being in force; None if it is."""
        return self.problem()

    def _current(self) -> _State:
        with self._lock:
            now = monotonic()
            if self._state is None or now - self._checked >= CHECK_INTERVAL_SECONDS:
                self._state = self._check()
                self._checked = now
            return self._state

    def _check(self) -> _State:
        fingerprint = _fingerprint(self._path)
        if self._state is not None and fingerprint == self._state.fingerprint:
            return self._state
        if fingerprint is None and self._without is not None and not self._was_there():
            self._keep_that_there_is_none()
            return _State(fingerprint, self._without)
        try:
            data = _read(self._path)
            self._good = self._parse(data)
        except (InvalidConfigError, OSError) as error:
            self._good = self._good or self._read_last_good()
            in_force = self._good or (self._without if self._was_without.exists() else None)
            problem = f"{self._message(error)}. {self._what_is_in_force(in_force)}."
            log.warning("%s", problem)
            return _State(fingerprint, in_force, problem)
        self._keep(data)
        return _State(fingerprint, self._good)

    def _was_there(self) -> bool:
        return self._good is not None or self._last_good.exists()

    def _what_is_in_force(self, in_force: Customers | None) -> str:
        if in_force is None:
            return "No good one was there before"
        return "The last good one stays in force" if in_force is self._good else "All is as it was without a file"

    def _message(self, error: InvalidConfigError | OSError) -> str:
        if isinstance(error, InvalidConfigError):
            shown = [f"{self._path}, {problem}" for problem in error.problems[:_MAX_SHOWN]]
            if more := len(error.problems) - len(shown):
                shown.append(f"and {more} more")
            what = "; ".join(shown)
        else:
            what = f"{self._path} can't be read: {error.strerror}"
            if not self._reads_jp2:
                what += f"; without it images become JP2s, and {READS_NO_JP2_CAUSE}"
        return what

    def _read_last_good(self) -> Customers | None:
        with suppress(InvalidConfigError, OSError):
            return self._parse(_read(self._last_good))
        return None

    def _parse(self, data: bytes) -> Customers:
        return parse_customers(data, reads_jp2=self._reads_jp2, adds_to_dlcs=self._adds_to_dlcs)

    def _keep_that_there_is_none(self) -> None:
        try:
            self._was_without.parent.mkdir(parents=True, exist_ok=True)
            self._was_without.touch()
        except OSError as error:
            log.warning("it could not be kept that there is no file %s: %s", self._path, error.strerror)

    def _keep(self, data: bytes) -> None:
        with suppress(OSError):
            self._was_without.unlink(missing_ok=True)  # from now on it is the last good one that counts
            if self._last_good.read_bytes() == data:
                return
        try:
            self._last_good.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._last_good.parent, delete=False) as file:
                written = Path(file.name)
                try:
                    file.write(data)
                    file.flush()
                    written.replace(self._last_good)
                except OSError:
                    written.unlink(missing_ok=True)  # where the disk is full it would stay, with nothing in it
                    raise
        except OSError as error:
            log.warning("no copy of %s could be kept: %s", self._path, error.strerror)


def _fingerprint(path: Path) -> tuple[int, ...] | None:
    """Return what changes when the file does; None if it can't be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidConfigError([Problem(1, "", f"has more than {_MAX_FILE_BYTES} bytes; expected a customers file")])
    return data
