"""Bytes on their way to disk: hashed and counted as they pass, never held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from dlcs_assets.domain.errors import TransientError


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded. `version` is the S3 version id, else the ETag, of what was read."""

    path: Path
    bytes: int
    sha256: str
    content_type: str | None
    version: str | None
    milliseconds: int


class TooManyBytes(Exception):  # noqa: N818 (it is said of what is being read)
    """There is more to read than the limit allows."""


def write_stream(chunks: Iterable[bytes], path: Path, *, max_bytes: int | None = None) -> tuple[int, str]:
    """Write the chunks to a new file; return their number of bytes and SHA-256.

    Raises TooManyBytes, and TransientError `scratch_not_writable` where the disk is full.
    """
    digest = hashlib.sha256()
    length = 0
    with _disk_errors():
        file = path.open("wb", buffering=0)
    with file:
        for chunk in chunks:
            length += len(chunk)
            if max_bytes is not None and length > max_bytes:
                raise TooManyBytes
            digest.update(chunk)
            with _disk_errors():
                _write_all(file, chunk)
    return length, digest.hexdigest()


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
            remedy="See that DLCS_SCRATCH exists, is writable, and has room.",
        ) from error
