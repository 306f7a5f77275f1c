"""The strategy `s3-ambient`: originals in S3, read with our own credentials, wherever the bucket is."""

from __future__ import annotations

from dlcs_assets.clients.aws import aws_errors
from dlcs_assets.clients.content_encoding import CHUNK_BYTES, is_packed, unpacked
from dlcs_assets.clients.origins.strategy import PEER, FetchOptions, Peeked, encoding_errors
from dlcs_assets.clients.s3_objects import download_object, object_version
from dlcs_assets.clients.transfer import Fetched, PartialFile
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.s3_uri import S3Location


def fetch(origin: Origin, file: PartialFile, options: FetchOptions) -> Fetched:
    """Download an object to the file, from where an earlier attempt broke off if it is still the same object."""
    with encoding_errors(origin):
        return download_object(
            options.s3.get(origin.bucket),
            _location(origin),
            file,
            peer=PEER,
            time_limit_seconds=options.limits.whole,
            unpacks=True,
        )


def peek(origin: Origin, limit: int, options: FetchOptions) -> Peeked:
    """Read what S3 knows of an object, and its first bytes."""
    client, location = options.s3.get(origin.bucket), _location(origin)
    with encoding_errors(origin), aws_errors(PEER, f"Looking at {location.uri()}"):
        known = client.head_object(Bucket=location.bucket, Key=location.key)
        size = known["ContentLength"]
        version = object_version(known.get("VersionId"), known.get("ETag"))
        if size == 0:
            return Peeked(b"", 0, known.get("ContentType"), version)
        answer = client.get_object(
            Bucket=location.bucket, Key=location.key, Range=f"bytes=0-{limit - 1}", IfMatch=known["ETag"]
        )
        encoding = answer.get("ContentEncoding")
        packed = is_packed(encoding)
        head = b""
        for part in unpacked(answer["Body"].iter_chunks(CHUNK_BYTES), encoding, cut_off=True):
            head += part
            if len(head) >= limit:
                break
        return Peeked(head[:limit], None if packed else size, known.get("ContentType"), version, packed)


def _location(origin: Origin) -> S3Location:
    assert origin.location is not None  # each origin of this strategy has one
    return origin.location
