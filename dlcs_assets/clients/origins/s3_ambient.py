"""The strategy `s3-ambient`: originals in S3, read with our own credentials, wherever the bucket is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlcs_assets.clients.aws import aws_errors
from dlcs_assets.clients.origins.strategy import PEER, Peeked
from dlcs_assets.clients.s3_objects import object_version
from dlcs_assets.domain.origin import OriginBucket
from dlcs_assets.domain.s3_uri import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class S3Clients:
    """S3 clients by place, each made when it is first needed. `make` takes endpoint and region."""

    def __init__(self, make: Callable[[str | None, str | None], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._clients: dict[OriginBucket, S3Client] = {}

    def get(self, place: OriginBucket = OriginBucket()) -> S3Client:  # noqa: B008 (it is frozen)
        """Return the client for buckets of a place; without one, for those where our own storage is."""
        with self._lock:
            if place not in self._clients:
                self._clients[place] = self._make(place.endpoint, place.region)
            return self._clients[place]

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()


def peek(client: S3Client, location: S3Location, limit: int) -> Peeked:
    """Read what S3 knows of an object, and its first bytes."""
    with aws_errors(PEER, f"Looking at {location.uri()}"):
        known = client.head_object(Bucket=location.bucket, Key=location.key)
        size = known["ContentLength"]
        version = object_version(known.get("VersionId"), known.get("ETag"))
        if size == 0:
            return Peeked(b"", 0, known.get("ContentType"), version)
        answer = client.get_object(
            Bucket=location.bucket, Key=location.key, Range=f"bytes=0-{limit - 1}", IfMatch=known["ETag"]
        )
        return Peeked(answer["Body"].read(), size, known.get("ContentType"), version)
