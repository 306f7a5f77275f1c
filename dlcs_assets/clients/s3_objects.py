"""Reading one S3 object to disk: what storage and the s3-ambient origins share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dlcs_assets.clients.aws import aws_errors
from dlcs_assets.clients.content_encoding import is_packed, unpacked
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.transfer import Fetched, PartialFile
from dlcs_assets.domain.errors import TransientError
from dlcs_assets.domain.s3_uri import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_CHUNK_BYTES: Final = 2**18
_CHANGED: Final = frozenset({412, 416})


def download_object(
    client: S3Client,
    location: S3Location,
    file: PartialFile,
    *,
    peer: Peer,
    time_limit_seconds: float,
    unpacks: bool = False,
) -> Fetched:
    """Write an object to a file, from where an earlier attempt broke off if it is still the same object.

    `unpacks`: an object that is stored with a Content-Encoding is unpacked. Raises TooManyBytesError, the errors of
    Content-Encodings, and those of the error tree.
    """
    began = time.monotonic()
    with aws_errors(peer, f"Reading {location.uri()}"):
        # `region` stays unused: as in the DLCS, the client has one region, and S3 knows where a bucket is.
        answer = _get_object(client, location, file)
        encoding = answer.get("ContentEncoding") if unpacks else None
        before, expected, received = file.length, answer["ContentLength"], 0

        def chunks() -> Iterator[bytes]:
            nonlocal received
            for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                if time.monotonic() - began > time_limit_seconds:
                    raise TransientError(
                        f"{peer.code}_timeout", f"Reading {location.uri()} took too long", remedy=peer.remedy
                    )
                received += len(chunk)
                yield chunk

        try:
            if is_packed(encoding):
                file.begin(None)  # a part of it can't be continued
            file.expect(expected)
            file.append(unpacked(chunks(), encoding))
        finally:
            answer["Body"].close()
    if received != expected:
        raise TransientError(
            f"{peer.code}_broke_off",
            f"{location.uri()} broke off after {before + received} of {before + expected} bytes",
            remedy=peer.remedy,
        )
    version = object_version(answer.get("VersionId"), answer.get("ETag"))
    milliseconds = round((time.monotonic() - began) * 1000)
    content_type, packed = answer.get("ContentType"), is_packed(encoding)
    return Fetched(file.path, file.length, file.sha256, content_type, version, milliseconds, packed)


def _get_object(client: S3Client, location: S3Location, file: PartialFile) -> GetObjectOutputTypeDef:
    """Ask for what the file lacks; for all of it if the object is another by now (412), or has no more bytes (416)."""
    from botocore.exceptions import ClientError

    if file.can_continue:
        assert file.version is not None
        try:
            return client.get_object(
                Bucket=location.bucket, Key=location.key, Range=f"bytes={file.length}-", IfMatch=file.version
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _CHANGED:
                raise
    answer = client.get_object(Bucket=location.bucket, Key=location.key)
    file.begin(answer.get("ETag"))
    return answer


def object_version(version_id: str | None, etag: str | None) -> str | None:
    """Return what changes when the object changes: the version id, where the bucket has versions, else the ETag."""
    if version_id and version_id != "null":
        return version_id
    return etag.strip('"') if etag else None
