"""Listings of the buckets that originals are uploaded to, page by page, wherever a bucket is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dlcs_assets.clients.aws import S3ClientFactory, S3Clients, aws_errors
from dlcs_assets.clients.lazy import LazyClient
from dlcs_assets.clients.origins.strategy import PEER
from dlcs_assets.domain.origin import OriginBucket

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as a listing has it. The ETag has no quotes."""

    key: str
    etag: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a bucket's objects, in S3's order of keys; `is_last` if there are no more of them."""

    objects: tuple[ListedObject, ...]
    is_last: bool


@dataclass(kw_only=True, eq=False)
class Listings(LazyClient[S3Clients]):
    """The buckets of uploads. `s3` should not be a patient one: a tick of a sensor waits for it."""

    s3: S3ClientFactory
    page_size: int = 1000

    def page(self, bucket: str, place: OriginBucket, *, after: str | None) -> Page:
        """List the objects that come after a key. Raises the errors of the error tree, codes `origin_*`."""
        client = self._client.get(lambda: S3Clients(self.s3.get_client_at)).get(place)
        with aws_errors(PEER, f"Listing {bucket}"):
            answer = client.list_objects_v2(Bucket=bucket, StartAfter=after or "", MaxKeys=self.page_size)
        return page_of(answer)


def page_of(answer: ListObjectsV2OutputTypeDef) -> Page:
    """Read S3's answer to a request for a listing."""
    objects = tuple(
        ListedObject(item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"])
        for item in answer.get("Contents", ())
    )
    return Page(objects, is_last=not answer["IsTruncated"])
