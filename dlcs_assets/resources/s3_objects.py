"""Reading one S3 object to disk: what storage and the s3-ambient origins share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_assets.domain.errors import TransientError
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.resources.aws import aws_errors
from dlcs_assets.resources.http import Peer
from dlcs_assets.resources.transfer import Fetched, write_stream

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_CHUNK_BYTES: Final = 2**18


def download_object(
    client: S3Client,
    location: S3Location,
    path: Path,
    *,
    peer: Peer,
    max_bytes: int | None = None,
    time_limit_seconds: float,
) -> Fetched:
    """Write an object to a file, which is new each time. Raises TooManyBytes and the errors of the error tree."""
    began = time.monotonic()
    with aws_errors(peer, f"Reading {location.uri()}"):
        answer = client.get_object(Bucket=location.bucket, Key=location.key)
        # `region` stays unused: as in the DLCS, the client has one region, and S3 knows where a bucket is.

        def chunks() -> Iterator[bytes]:
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                if time.monotonic() - began > time_limit_seconds:
                    raise TransientError(
                        f"{peer.code}_timeout", f"Reading {location.uri()} took too long", remedy=peer.remedy
                    )
                yield chunk

        try:
            length, sha256 = write_stream(chunks(), path, max_bytes=max_bytes)
        finally:
            answer["Body"].close()
    if length != answer["ContentLength"]:
        raise TransientError(
            f"{peer.code}_broke_off",
            f"{location.uri()} broke off after {length} of {answer['ContentLength']} bytes",
            remedy=peer.remedy,
        )
    version = object_version(answer.get("VersionId"), answer.get("ETag"))
    return Fetched(path, length, sha256, answer.get("ContentType"), version, round((time.monotonic() - began) * 1000))


def object_version(version_id: str | None, etag: str | None) -> str | None:
    """Return what changes when the object changes: the version id, where the bucket has versions, else the ETag."""
    if version_id and version_id != "null":
        return version_id
    return etag.strip('"') if etag else None
