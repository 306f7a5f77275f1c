"""The project's objects in S3: put with their checksum, inspected, read, listed, deleted."""

import base64
import hashlib
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from dlcs_assets.clients.aws import S3ClientFactory, archived, aws_errors
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.lazy import Lazy, LazyClient
from dlcs_assets.clients.listings import ListedObject, Page, page_of
from dlcs_assets.clients.retrying import Retrying
from dlcs_assets.clients.s3_objects import download_object
from dlcs_assets.clients.s3_puts import ObjectPuts, Upload
from dlcs_assets.clients.transfer import Fetched, PartialFile
from dlcs_assets.clients.versions import restore_version
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.s3_uri import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_PEER: Final = Peer(
    "Storage",
    "storage",
    is_internal=True,
    remedy="Check that S3 answers, that its credentials are valid, and that they may read and write the bucket.",
)
_PART_BYTES: Final = 64 * 2**20
_READ_BYTES: Final = 2**20
_BLOCK_BYTES: Final = 2**18  # of what is passed on as it comes
_KEYS_PER_DELETION: Final = 1000
# Storage classes, and what a HEAD of S3 Intelligent-Tiering says.
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"})


@dataclass(frozen=True)
class StoredObject:
    """An object as S3 has it. `sha256` is None for objects that were not put by us.

    `archived_in`: the storage class of one that S3 does not return, because it is archived and not restored.
    """

    bucket: str
    key: str
    bytes: int
    sha256: str | None
    content_type: str
    etag: str
    archived_in: str | None = None


@dataclass(frozen=True, slots=True)
class Digest:
    """What bytes come to, as they were read."""

    bytes: int
    sha256: str


@dataclass(kw_only=True, eq=False)
class Storage(LazyClient["S3Client"]):
    """The buckets of the installation. All methods raise the errors of the error tree, codes `storage_*`."""

    ARCHIVED: ClassVar[str] = f"{_PEER.code}_archived"  # of an object that is there, and that S3 does not return

    s3: S3ClientFactory
    storage_bucket: str = "dlcs-storage"
    thumbs_bucket: str = "dlcs-thumbs"
    in_flight: int = 16
    download_timeout_seconds: float = 600.0
    attempts: int = 3
    first_delay_seconds: float = 0.5

    _slots: threading.BoundedSemaphore = field(init=False, repr=False)
    _puts: Lazy[ObjectPuts] = field(default_factory=Lazy, init=False, repr=False)

    def __post_init__(self) -> None:
        self._slots = threading.BoundedSemaphore(self.in_flight)

    def put_file(self, path: Path, bucket: str, key: str, content_type: str, sha256: str) -> StoredObject:
        """Store a file, in parts if it is big, and see that S3 has all of it. `sha256` is that of the file."""
        location = S3Location(bucket, key)
        size = path.stat().st_size
        with self._request(f"Storing {bucket}/{key}") as client:
            if size <= _PART_BYTES:
                put = self._putter(client).put(Upload(location, path, size, content_type, sha256))
                if put.is_verified:
                    return StoredObject(bucket, key, size, sha256, content_type, put.etag)
            else:
                _upload_in_parts(client, path, location, content_type, sha256)
        stored = self.head(bucket, key)
        if stored is None or stored.bytes != size:
            raise TransientError(
                "storage_incomplete",
                f"S3 has {stored.bytes if stored else 0} of {size} bytes of {bucket}/{key}",
                remedy="Retry the image; if it happens again, see what else writes there.",
            )
        return stored

    def put_bytes(self, data: bytes, bucket: str, key: str, content_type: str) -> StoredObject:
        """Store a small object. S3 checks the checksum that goes with it, so that there is nothing to look after."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._request(f"Storing {bucket}/{key}") as client:
            put = self._putter(client).put(Upload(S3Location(bucket, key), data, len(data), content_type, sha256))
        return StoredObject(bucket, key, len(data), sha256, content_type, put.etag)

    def head(self, bucket: str, key: str) -> StoredObject | None:
        """Return what S3 knows of an object; None if there is none."""
        try:
            with self._request(f"Looking at {bucket}/{key}") as client:
                found = client.head_object(Bucket=bucket, Key=key)
        except PermanentError as error:
            if error.code == "storage_not_found":
                return None
            raise
        return StoredObject(
            bucket,
            key,
            found["ContentLength"],
            found["Metadata"].get("sha256"),
            found.get("ContentType", ""),
            found["ETag"].strip('"'),
            _archived_in(found),
        )

    def require(self, bucket: str, key: str) -> StoredObject | None:
        """Return what S3 knows of an object that is to be read; None if there is none.

        Raises PermanentError `storage_archived` for one that S3 would not return.
        """
        stored = self.head(bucket, key)
        if stored and stored.archived_in:
            raise archived(_PEER, f"Reading {bucket}/{key}", stored.archived_in)
        return stored

    def download(self, bucket: str, key: str, path: Path) -> Fetched:
        """Write an object to a file. Raises PermanentError `storage_not_found` if there is none."""
        file = PartialFile(path)

        def attempt() -> Fetched:
            with self._slot() as client:
                return download_object(
                    client,
                    S3Location(bucket, key),
                    file,
                    peer=_PEER,
                    time_limit_seconds=self.download_timeout_seconds,
                )

        return Retrying(self.attempts, self.download_timeout_seconds, self.first_delay_seconds, 20).call(attempt)

    def read_bytes(self, bucket: str, key: str) -> bytes:
        """Read a small object. Raises PermanentError `storage_not_found` if there is none."""
        with self._request(f"Reading {bucket}/{key}") as client:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def read_blocks(self, bucket: str, key: str) -> Iterator[bytes]:
        """Yield an object's bytes as they come; a connection is kept for so long. Raises as `read_bytes` does."""
        with self._request(f"Reading {bucket}/{key}") as client:
            body = client.get_object(Bucket=bucket, Key=key)["Body"]
            try:
                yield from body.iter_chunks(_BLOCK_BYTES)
            finally:
                body.close()

    def digest(self, bucket: str, key: str) -> Digest | None:
        """Read an object, keeping nothing of it, and return what its bytes come to. None: there is none."""
        try:
            with self._request(f"Reading {bucket}/{key}") as client:
                sha256, size = hashlib.sha256(), 0
                body = client.get_object(Bucket=bucket, Key=key)["Body"]
                for block in body.iter_chunks(_READ_BYTES):
                    sha256.update(block)
                    size += len(block)
        except PermanentError as error:
            if error.code == "storage_not_found":
                return None
            raise
        return Digest(size, sha256.hexdigest())

    def list_keys(self, bucket: str, prefix: str) -> list[str]:
        """List the keys that begin with `prefix`, in S3's order."""
        with self._request(f"Listing {bucket}/{prefix}") as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def list_page(self, bucket: str, prefix: str, *, after: str | None = None, limit: int = 1000) -> Page:
        """List up to `limit` objects that begin with `prefix` and come after a key, in S3's order: by UTF-8 bytes."""
        with self._request(f"Listing {bucket}/{prefix}") as client:
            answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=after or "", MaxKeys=limit)
        return page_of(answer)

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """List all objects that begin with `prefix`, in S3's order, a page at a time in memory."""
        after: str | None = None
        while True:
            page = self.list_page(bucket, prefix, after=after)
            yield from page.objects
            if page.is_last:
                return
            after = page.objects[-1].key

    def list_folders(self, bucket: str, prefix: str) -> list[str]:
        """List the first thousand folders below `prefix`, each with its slash at the end."""
        with self._request(f"Listing {bucket}/{prefix}") as client:
            answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/")
        return [item["Prefix"] for item in answer.get("CommonPrefixes", ())]

    def restore(self, bucket: str, key: str, *, sha256: str) -> bool:
        """Make the newest version that was put with this checksum the current one again; False if there is none.

        It is copied: no version and no delete marker is deleted. The bucket has to keep versions.
        """
        with self._request(f"Restoring a version of {bucket}/{key}") as client:
            return restore_version(client, S3Location(bucket, key), sha256=sha256)

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist count as deleted. Raises if S3 kept any."""
        wanted = list(keys)
        for start in range(0, len(wanted), _KEYS_PER_DELETION):
            chunk = wanted[start : start + _KEYS_PER_DELETION]
            with self._request(f"Deleting {len(chunk)} objects of {bucket}") as client:
                answer = client.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True}
                )
            errors = answer.get("Errors", [])
            if errors:
                raise TransientError(
                    "storage_not_deleted",
                    f"S3 kept {len(errors)} of {len(chunk)} objects of {bucket} that were to be deleted, the first one "
                    f"{errors[0].get('Key')}: {errors[0].get('Code')} {errors[0].get('Message')}",
                    remedy=_PEER.remedy,
                )

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        if puts := self._puts.take():
            puts.close()
        super().close()

    def _putter(self, client: "S3Client") -> ObjectPuts:
        return self._puts.get(lambda: ObjectPuts(self.s3, client, longest_delay_seconds=self.first_delay_seconds))

    @contextmanager
    def _slot(self) -> Iterator["S3Client"]:
        with self._slots:
            yield self._client.get(self.s3.get_client)

    @contextmanager
    def _request(self, what: str) -> Iterator["S3Client"]:
        with aws_errors(_PEER, what), self._slot() as client:
            yield client


def _archived_in(found: Mapping[str, Any]) -> str | None:
    """Return the archive in which the object of a HEAD is, unless it is restored."""
    archive: str | None = found.get("ArchiveStatus") or found.get("StorageClass")
    is_restored = 'ongoing-request="false"' in found.get("Restore", "")
    return archive if archive in _ARCHIVES and not is_restored else None


def _upload_in_parts(client: "S3Client", path: Path, location: S3Location, content_type: str, sha256: str) -> None:
    from boto3.s3.transfer import TransferConfig

    # Parts one after the other: it is the images that go side by side, and each part in flight takes memory.
    config = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)
    with path.open("rb") as file:
        # SHA-256 would be one of parts. A CRC of the whole object S3 compares with what it has put together.
        extra = {"ContentType": content_type, "Metadata": {"sha256": sha256}, "ChecksumCRC32": _crc32(file)}
        file.seek(0)
        client.upload_fileobj(file, location.bucket, location.key, ExtraArgs=extra, Config=config)


def _crc32(file: BinaryIO) -> str:
    """Return the checksum of a file as S3's headers have it."""
    checksum = 0
    while block := file.read(_READ_BYTES):
        checksum = zlib.crc32(block, checksum)
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()
