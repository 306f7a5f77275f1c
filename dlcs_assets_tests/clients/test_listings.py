from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.listings import Listings
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.origin import OriginBucket
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

KEYS = ["2/1/a b", "2/1/a%2Fb", "2/1/a+b", "2/1/b", "2/1/é&<x>?#"]
HERE = OriginBucket()


@pytest.fixture
def listings(aws: Aws) -> Iterator[Listings]:
    resource = Listings(s3=aws.s3(), page_size=2)
    yield resource
    resource.close()


def impatient(url: str) -> Listings:
    s3 = S3ClientFactory(
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        max_attempts=1,
        read_timeout_seconds=0.3,
    )
    return Listings(s3=s3)


def test_a_bucket_is_listed_page_by_page_from_any_key_on(aws: Aws, listings: Listings, bucket: str) -> None:
    client = aws.s3().get_client()
    etags = [client.put_object(Bucket=bucket, Key=key, Body=key.encode())["ETag"].strip('"') for key in KEYS]
    client.close()
    pages, after = [listings.page(bucket, HERE, after=None)], KEYS[1]
    while not pages[-1].is_last:
        pages.append(listings.page(bucket, HERE, after=after))
        after = pages[-1].objects[-1].key
    assert [len(page.objects) for page in pages] == [2, 2, 1]
    found = [(item.key, item.etag, item.size) for page in pages for item in page.objects]
    assert found == [(key, etag, len(key.encode())) for key, etag in zip(KEYS, etags, strict=True)]
    assert all(item.modified.tzinfo for page in pages for item in page.objects)


def test_an_empty_bucket_is_one_page(listings: Listings, bucket: str) -> None:
    page = listings.page(bucket, HERE, after=None)
    assert (page.objects, page.is_last) == ((), True)


def test_a_bucket_is_listed_at_its_endpoint(aws: Aws, bucket: str) -> None:
    with scripted_server(Answer(500)) as elsewhere:
        listings = Listings(s3=S3ClientFactory(endpoint_url=elsewhere.url, max_attempts=1))
        page = listings.page(bucket, OriginBucket(endpoint=aws.endpoint, region="us-east-1"), after=None)
        assert page.is_last
        assert elsewhere.asked == []
        listings.close()


def test_a_bucket_that_does_not_exist_is_named(listings: Listings) -> None:
    with pytest.raises(IngestError) as raised:
        listings.page("no-such-bucket", HERE, after=None)
    assert raised.value.code == "origin_not_found"
    assert raised.value.cause.startswith("Listing no-such-bucket: NoSuchBucket")


def test_listing_a_server_that_does_not_answer_fails_soon() -> None:
    """Whether nothing listens or nothing answers: a sensor's tick must not wait for it."""
    with pytest.raises(IngestError) as raised:
        impatient(refused_url()).page("scans", HERE, after=None)
    assert raised.value.cause == "Listing scans: nothing answers there"
    with scripted_server(Answer(fault="hang")) as server:
        listings = impatient(server.url)
        with pytest.raises(IngestError, match="Listing scans") as raised:
            listings.page("scans", HERE, after=None)
        listings.close()
    assert raised.value.code == "origin_unavailable"
