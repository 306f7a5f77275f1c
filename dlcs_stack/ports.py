"""Ports for the services of a stack: claimed until it ends, so that two stacks that start at once take different ones.

A port is free until a service listens on it, seconds after it was chosen. A lock on a file of its number shows it at
once to other stacks of the same user; a listener of anyone else is seen by trying to bind.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dlcs_stack.supervisor import free_port, is_free

_ATTEMPTS: Final = 100


class Ports:
    """The ports of one stack, until the end of the `with` block."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"dlcs-ports-{os.getuid()}"
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    def claim(self, port: int) -> bool:
        """Return whether nothing listens on the port and no other stack has claimed it; then it is ours."""
        if not is_free(port):
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (self._folder / str(port)).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._held.enter_context(lock)
        return True

    def take(self) -> int:
        """Claim any port and return it. Raises OSError if there is none."""
        for _ in range(_ATTEMPTS):
            port = free_port()
            if self.claim(port):
                return port
        raise OSError(f"No port could be claimed: other stacks have them, by the files in {self._folder}")
