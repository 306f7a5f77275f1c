"""Bytes on their way to disk: hashed and counted as they pass, never held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from dlcs_assets.domain.errors import TransientError

# What the format of a file is judged by.
HEAD_BYTES: Final = 65536


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded. `version` is the S3 version id, else the ETag, of what was read.

    `packed`: it was compressed where it is, and the file is not.
    """

    path: Path
    bytes: int
    sha256: str
    content_type: str | None
    version: str | None
    milliseconds: int
    packed: bool = False


class TooManyBytesError(Exception):
    """There is more to read than the limit allows."""


class UnwantedError(Exception):
    """The first bytes are of a file that is not wanted."""


class PartialFile:
    """A new file that may come in several goes: what broke off continues where it ended, hash and length with it.

    `version` says which original the bytes are of, in the words of its server; None where they can't be gone on with.
    `wants` is asked whether to go on, once the first `HEAD_BYTES` are there, or all if there are fewer.
    """

    def __init__(
        self, path: Path, *, max_bytes: int | None = None, wants: Callable[[bytes], bool] | None = None
    ) -> None:
        self.path = path
        self.length = 0
        self.version: str | None = None
        self._max_bytes = max_bytes
        self._wants = wants
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, in hex."""
        return self._digest.hexdigest()

    @property
    def can_continue(self) -> bool:
        """Return whether there are bytes, of a known version."""
        return self.length > 0 and self.version is not None

    def begin(self, version: str | None) -> None:
        """Forget what came, and begin with the bytes of a version."""
        self.length = 0
        self.version = version
        self._digest = hashlib.sha256()

    def expect(self, length: int | None) -> None:
        """Raise TooManyBytesError if that many more are too many."""
        if length is not None and self._max_bytes is not None and self.length + length > self._max_bytes:
            raise TooManyBytesError

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write further chunks.

        Raises TooManyBytesError, UnwantedError, and TransientError `scratch_not_writable` where the disk is full.
        """
        with _disk_errors():
            file = FileIO(self.path, "ab")
        with file:
            file.truncate(self.length)  # a write that failed in the middle left more there than was counted
            for chunk in chunks if self.length else self._wanted(iter(chunks)):
                self.expect(len(chunk))
                with _disk_errors():
                    _write_all(file, chunk)
                self._digest.update(chunk)
                self.length += len(chunk)

    def _wanted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        if self._wants is not None:
            head = b""
            for chunk in chunks:
                head += chunk
                if len(head) >= HEAD_BYTES:
                    break
            if not self._wants(head[:HEAD_BYTES]):
                raise UnwantedError
            yield head
        yield from chunks


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransientError(
            "scratch_not_writable",
            f"The scratch folder can't be written: {error.strerror}",
            remedy="Check that DLCS_SCRATCH exists, is writable, and has room.",
        ) from error
