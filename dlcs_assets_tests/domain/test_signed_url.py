from __future__ import annotations

import pytest

from dlcs_assets.domain.recipe import origin_mark
from dlcs_assets.domain.signed_url import is_signed, unsigned, was_signed

SIGNED = [
    "https://b.s3.eu-west-1.amazonaws.com/a/p.tif?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60&X-Amz-Signature=aa",
    "https://b.s3.amazonaws.com/p.tif?AWSAccessKeyId=AKIA&Expires=1&Signature=x%2Fy%3D",
    "https://d111.cloudfront.net/p.tif?Expires=1&Signature=abc~&Key-Pair-Id=K2",
    "https://storage.googleapis.com/b/p.tif?X-Goog-Algorithm=GOOG4&X-Goog-Signature=00",
    "https://acc.blob.core.windows.net/c/p.tif?sv=2024-11-04&se=2026&sr=b&sp=r&sig=a%2Bb",
    "HTTP://example.org/p.tif?SIGNATURE=",
]
UNSIGNED = [
    "https://example.org/p.tif",
    "https://example.org/p.tif?id=7&size=full",
    "https://example.org/signature=1/p.tif",
    "https://example.org/p.tif#?sig=1",
    "s3://bucket/p.tif?sig=1",
    "sftp://example.org/p.tif?sig=1",
    "http://[broken?sig=1",
    "",
]


@pytest.mark.parametrize("url", SIGNED)
def test_the_query_of_a_signed_address_is_removed(url: str) -> None:
    assert is_signed(url)
    assert unsigned(url) == url.partition("?")[0] + "?…"
    assert was_signed(unsigned(url))
    assert not is_signed(unsigned(url))


@pytest.mark.parametrize("url", UNSIGNED)
def test_any_other_address_stays_as_it_is(url: str) -> None:
    assert not is_signed(url)
    assert unsigned(url) == url
    assert not was_signed(url)


def test_another_signature_is_not_another_origin() -> None:
    first, second = (f"https://example.org/p.tif?X-Amz-Signature={each}" for each in ("a", "b"))
    assert origin_mark(first) == origin_mark(second) == origin_mark(unsigned(first))
    assert origin_mark("https://example.org/p.tif?id=1") != origin_mark("https://example.org/p.tif?id=2")
