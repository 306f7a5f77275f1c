"""Source files: local ones where they are, S3 objects as copies on disk that are shared and never stale.

Each request asks S3 for the object unless it still is the version at hand, so an object that was replaced under its key
is read again, and one that was not costs no transfer. Copies are kept up to a number of bytes, least recently used out
first; one that is being read is never removed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlcs_stack.image_server.identifiers import S3Object
from dlcs_stack.image_server.refusal import RefusalError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS, _CONNECTIONS = 5, 60, 3, 32
_PIECE_BYTES = 2**20
_NOT_MODIFIED, _FORBIDDEN, _NOT_FOUND = 304, 403, 404


@dataclass(frozen=True)
class Source:
    """A file to read; `version` differs whenever the contents may differ."""

    path: str
    version: str


@dataclass
class _Check:
    """A question to S3 that has not been asked yet, and how many requests wait for its answer."""

    task: asyncio.Task[_Copy]
    waiting: int = 0


@dataclass
class _Copy:
    """An S3 object on disk: its ETag as S3 gave it, its length in bytes, and how many requests read it right now."""

    source: Source
    etag: str
    length: int
    readers: int = 0


class Sources:
    """Where the server's source files come from. Used from one event loop; S3 is asked in threads."""

    def __init__(self, s3_endpoint: str | None, cache_bytes: int, *, never_asks_again: bool = False) -> None:
        self._cache_bytes = cache_bytes
        self._never_asks_again = never_asks_again
        self._client = _s3_client(s3_endpoint)
        self._folder = tempfile.TemporaryDirectory(prefix="image-server-")
        self._copies: OrderedDict[S3Object, _Copy] = OrderedDict()
        self._locks: defaultdict[S3Object, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unfinished: Counter[S3Object] = Counter()
        self._next: dict[S3Object, _Check] = {}
        self.fetches = 0

    @asynccontextmanager
    async def opened(self, location: S3Object | Path) -> AsyncIterator[Source]:
        """Yield the file of `location`, as it is now, for the time of the block. Raises `RefusalError`."""
        if isinstance(location, Path):
            yield _local(location)
            return
        copy = await self._current(location)
        try:
            yield copy.source
        finally:
            self._release(location, copy)

    def close(self) -> None:
        """Remove all copies."""
        self._client.close()
        self._folder.cleanup()

    async def _current(self, location: S3Object) -> _Copy:
        """Return the copy of an object as it is now, or was at some time since the call."""
        check = self._next.get(location)
        if check is None:
            check = self._next[location] = _Check(asyncio.create_task(self._check(location)))
        check.waiting += 1
        try:
            return await asyncio.shield(check.task)  # others wait for it, too
        except asyncio.CancelledError:
            check.task.add_done_callback(lambda task: self._forget(location, task))
            raise

    async def _check(self, location: S3Object) -> _Copy:
        # One at a time per object. Requests that come while S3 is being asked share the next question: the answer to
        # this one may be older than they are.
        self._unfinished[location] += 1
        try:
            async with self._locks[location]:
                check = self._next.pop(location)
                known = self._copies.get(location)
                fetched = None
                if known is None or not self._never_asks_again:
                    fetched = await asyncio.to_thread(self._fetch, location, known.etag if known else None)
                copy = fetched or known
                if copy is None:
                    raise RefusalError(500, "S3 answered that an object is unchanged, but there is no copy of it here.")
                if fetched:
                    self.fetches += 1
                    self._replace(location, fetched)
                self._copies.move_to_end(location)
                copy.readers += check.waiting
                return copy
        finally:
            self._unfinished[location] -= 1
            if not self._unfinished[location]:
                del self._unfinished[location], self._locks[location]

    def _forget(self, location: S3Object, task: asyncio.Task[_Copy]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._release(location, task.result())

    def _replace(self, location: S3Object, fetched: _Copy) -> None:
        old = self._copies.pop(location, None)
        self._copies[location] = fetched
        if old and not old.readers:
            Path(old.source.path).unlink(missing_ok=True)

    def _release(self, location: S3Object, copy: _Copy) -> None:
        copy.readers -= 1
        self._trim()
        if copy.readers == 0 and self._copies.get(location) is not copy:
            Path(copy.source.path).unlink(missing_ok=True)

    def _trim(self) -> None:
        held = sum(copy.length for copy in self._copies.values())
        for location, copy in list(self._copies.items()):
            if held <= self._cache_bytes:
                return
            if not copy.readers:
                del self._copies[location]
                Path(copy.source.path).unlink(missing_ok=True)
                held -= copy.length

    def _fetch(self, location: S3Object, etag: str | None) -> _Copy | None:
        """Copy the object to disk; None if it still is the version `etag`. Runs in a thread."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            unless = {"IfNoneMatch": etag} if etag else {}
            answer = self._client.get_object(Bucket=location.bucket, Key=location.key, **unless)  # type: ignore[arg-type]  # an optional argument
            return self._save(answer)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == _NOT_MODIFIED:
                return None
            if status == _NOT_FOUND:
                raise RefusalError(404, "There is no source with this identifier.") from error
            if status == _FORBIDDEN:
                raise RefusalError(403, "S3 does not let this server read the source.") from error
            raise RefusalError(500, f"S3 failed: {error}") from error
        except BotoCoreError as error:
            raise RefusalError(500, f"S3 failed: {error}") from error

    def _save(self, answer: GetObjectOutputTypeDef) -> _Copy:
        with tempfile.NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            try:
                for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                    file.write(piece)
            except Exception:
                Path(file.name).unlink()
                raise
            return _Copy(Source(file.name, version=file.name), answer["ETag"], length=file.tell())


def _s3_client(endpoint: str | None) -> S3Client:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=_CONNECTIONS,
        # An endpoint of one's own has no host name for each bucket.
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    return boto3.client("s3", endpoint_url=endpoint, config=config)


def _local(path: Path) -> Source:
    try:
        with path.open("rb"):
            status = path.stat()
    except FileNotFoundError as error:
        raise RefusalError(404, "There is no source with this identifier.") from error
    except PermissionError as error:
        raise RefusalError(403, "This server may not read the source.") from error
    return Source(str(path), f"{path} {status.st_ino} {status.st_mtime_ns} {status.st_size}")
