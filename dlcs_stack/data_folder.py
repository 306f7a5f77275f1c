"""The folder of one embedded stack: claimed by one stack at a time, emptied at its start, readable by `dlcs env`.

A marker file says that the folder is ours to empty; a lock on it, which ends with its holder, that a stack is up.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

from dlcs_stack.supervisor import PRIVATE_UMASK

DEFAULT_FOLDER: Final = Path(".dlcs/stack")
MARKER: Final = ".dlcs-stack"
STATE: Final = "stack.json"
# What it keeps may hold secrets: the ledger has addresses and messages, and so may logs of others' programs.
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
# What a killed stack leaves running ends within its services' grace period; a new one waits for it.
LEFTOVERS_TIMEOUT: Final = timedelta(seconds=20)
READERS_TIMEOUT: Final = timedelta(seconds=0.5)  # `dlcs env` holds the lock for a moment when it looks


class StackRefusedError(Exception):
    """A stack cannot be started in this folder; the message says why and what to do."""


class NoStackError(Exception):
    """No stack is up in this folder."""


@dataclass(frozen=True)
class StackState:
    """A stack that is up: its process, those of its services, and the environment that leads to it."""

    pid: int
    services: dict[str, int]
    environment: dict[str, str]


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Hold the folder, empty but for its marker, for one stack; raises StackRefusedError."""
    folder = folder.absolute()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise StackRefusedError(
            f"{folder} is not empty and was not made by a stack, so it is not emptied. Name another folder with --data."
        )
    with private_files():
        folder.mkdir(parents=True, exist_ok=True)
        _close_to_others(folder, FOLDER_MODE)
        (folder / MARKER).touch()
        _close_to_others(folder / MARKER, FILE_MODE)
    with (folder / MARKER).open("a") as marker:
        if not _lock(marker, fcntl.LOCK_EX, READERS_TIMEOUT):
            raise StackRefusedError(
                f"A stack is up with its data in {folder} already. Use it (`dlcs env` prints how), stop it, "
                "or name another folder with --data."
            )
        _await_leftovers(folder)
        _empty(folder)
        try:
            yield folder
        finally:
            (folder / STATE).unlink(missing_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Make files and folders that no one else can read, whatever the umask of the caller is.

    It is the whole process's: threads that make files meanwhile make such files, too.
    """
    before = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def write_state(folder: Path, state: StackState) -> None:
    """Make the stack known to `read_state`."""
    draft = folder / f"{STATE}.new"
    with private_files():  # the environment may hold credentials
        draft.write_text(json.dumps(asdict(state), indent=1))
    draft.replace(folder / STATE)


def read_state(folder: Path) -> StackState:
    """Return the stack that is up in this folder. Raises NoStackError, also if its processes are dead."""
    folder = folder.absolute()
    try:
        with (folder / MARKER).open() as marker:
            if _lock(marker, fcntl.LOCK_SH, timedelta(0)):
                raise NoStackError(f"No stack is up in {folder}. Start one: dlcs up")
        return StackState(**json.loads((folder / STATE).read_bytes()))
    except FileNotFoundError as error:
        if (folder / MARKER).exists():
            raise NoStackError(f"The stack in {folder} is starting or stopping. Try again in a few seconds.") from error
        raise NoStackError(f"No stack is up in {folder}. Start one: dlcs up") from error


def _close_to_others(path: Path, mode: int) -> None:
    """Give what an earlier stack, or the user, may have made with wider rights the mode of a stack's own."""
    if path.stat().st_uid != os.geteuid():
        raise StackRefusedError(
            f"{path} belongs to another user, who could read what is in it. Name another folder with --data."
        )
    path.chmod(mode)


def _lock(marker: IO[str], kind: int, timeout: timedelta) -> bool:
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        try:
            fcntl.flock(marker, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _await_leftovers(folder: Path) -> None:
    with suppress(OSError, ValueError):
        pids: list[int] = list(json.loads((folder / STATE).read_bytes())["services"].values())
        deadline = time.monotonic() + LEFTOVERS_TIMEOUT.total_seconds()
        while any(map(_exists, pids)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's by now
        return False
    return True


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
