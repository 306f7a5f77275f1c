from __future__ import annotations

import pytest

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.origin import Origin, OriginStrategy, classify_origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.s3_uri import S3Location, parse_s3_uri

OBJECT = S3Location("dlcs-storage", "2/1/foo-bar")
IRISH_OBJECT = S3Location("dlcs-storage", "2/1/foo-bar", "eu-west-1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://eu-west-1/dlcs-storage/2/1/foo-bar", IRISH_OBJECT),
        ("s3://dlcs-storage/2/1/foo-bar", OBJECT),
        ("http://s3-eu-west-1.amazonaws.com/dlcs-storage/2/1/foo-bar", IRISH_OBJECT),
        ("https://s3.eu-west-1.amazonaws.com/dlcs-storage/2/1/foo-bar", IRISH_OBJECT),
        ("https://dlcs-storage.s3.amazonaws.com/2/1/foo-bar", OBJECT),
        ("https://dlcs-storage.s3.eu-west-1.amazonaws.com/2/1/foo-bar", IRISH_OBJECT),
        ("https://s3.amazonaws.com/dlcs-storage/2/1/foo-bar", OBJECT),
        ("http://s3.amazonaws.com/dlcs-storage/2/1/foo-bar", OBJECT),
        ("s3://bucket/", S3Location("bucket", "")),
        ("s3://bucket/a//b?c#d%20 e", S3Location("bucket", "a//b?c#d%20 e")),
        ("s3://eu-west-1/only-a-key", S3Location("eu-west-1", "only-a-key")),
        ("https://a.dotted.bucket.s3.amazonaws.com/key", S3Location("a.dotted.bucket", "key")),
        # The DLCS engine takes the first two for a bucket "us-gov-west-1" and for a region "my-bucket-1".
        ("s3://us-gov-west-1/bucket/key", S3Location("bucket", "key", "us-gov-west-1")),
        ("s3://my-bucket-1/folder/key", S3Location("my-bucket-1", "folder/key")),
        # It also asks S3 for URL-encoded keys.
        ("https://bucket.s3.amazonaws.com/a%20b%2Bc+d", S3Location("bucket", "a b+c+d")),
        ("http://example.org", None),
        ("https://bucket.s3-eu-west-1.amazonaws.com/key", None),
        ("https://example.org/?from=s3://bucket/key", None),
        ("https://bucket.s3.amazonaws.com/key?X-Amz-Signature=abc", None),
        ("https://s3.amazonaws.com.example.org/bucket/key", None),
        ("s3://bucket", None),
        ("", None),
    ],
)
def test_the_six_forms_of_an_s3_address_are_read_and_no_other(text: str, expected: S3Location | None) -> None:
    assert parse_s3_uri(text) == expected


def test_an_s3_address_is_written_with_a_region_if_one_is_given() -> None:
    assert S3Location("my-bucket", "key/for/item").uri() == "s3://my-bucket/key/for/item"
    assert S3Location("my-bucket", "key/for/item", "eu-west-1").uri() == "s3://my-bucket/key/for/item"
    assert S3Location("my-bucket", "").uri() == "s3://my-bucket/"
    assert S3Location("my-bucket", "").uri("us-east-1") == "s3://us-east-1/my-bucket/"
    assert S3Location("my-bucket", "k", "eu-west-1").uri("us-east-1") == "s3://eu-west-1/my-bucket/k"


def test_an_object_has_a_web_address() -> None:
    assert S3Location("my-bucket", "key/for/item").web_address() == "https://s3.amazonaws.com/my-bucket/key/for/item"
    assert S3Location("my-bucket", "", "eu-west-1").web_address() == "https://my-bucket.s3.eu-west-1.amazonaws.com/"
    assert parse_s3_uri(S3Location("b", "a b%?", "eu-west-1").web_address()) == S3Location("b", "a b%?", "eu-west-1")


def classify(url: str) -> Origin:
    return classify_origin(
        url,
        customer=2,
        portal_bucket="dlcs-origin",
        ambient_buckets={"library-scans", "dlcs-storage"},
        own_buckets={"dlcs-storage", "dlcs-thumbs"},
    )


@pytest.mark.parametrize("url", ["s3://dlcs-origin/2/1/x", "https://s3.amazonaws.com/dlcs-origin/2/1/x"])
def test_the_bucket_of_the_portal_is_an_optimised_origin(url: str) -> None:
    """What a customer uploaded there is read in place, in either form of its address."""
    expected = Origin(url, OriginStrategy.S3_AMBIENT, S3Location("dlcs-origin", "2/1/x"), optimised=True, note=None)
    assert classify(url) == expected


@pytest.mark.parametrize("url", ["s3://dlcs-origin/22/1/x", "https://s3.amazonaws.com/dlcs-origin/3/1/x"])
def test_an_upload_of_another_customer_is_refused_as_an_origin(url: str) -> None:
    """22/ begins with the digit of customer 2: the whole first part of the key must be the customer's number."""
    with pytest.raises(PermanentError) as raised:
        classify(url)
    assert raised.value.code == "origin_of_another_customer"


@pytest.mark.parametrize("url", ["s3://library-scans/x.tif", "https://library-scans.s3.amazonaws.com/x.tif"])
def test_a_listed_bucket_is_read_with_own_credentials_and_copied(url: str) -> None:
    """A bucket that may be read is not thereby one that the image server reads: it is not optimised."""
    expected = Origin(url, OriginStrategy.S3_AMBIENT, S3Location("library-scans", "x.tif"), optimised=False, note=None)
    assert classify(url) == expected


@pytest.mark.parametrize("bucket", ["another-systems", "dlcs-storage", "dlcs-thumbs"])
def test_unlisted_buckets_and_our_own_are_never_read(bucket: str) -> None:
    """Even if listed, our own buckets must not be an origin: a customer could read another's images."""
    with pytest.raises(PermanentError) as refused:
        classify(f"s3://{bucket}/2/1/x")
    assert refused.value.code == "origin_not_allowed"
    assert "DLCS_S3_ORIGIN_BUCKETS" in refused.value.remedy


def test_an_unlisted_bucket_on_the_web_gets_no_credentials() -> None:
    """A public object can be read by its web address; our credentials must not open one that is private."""
    for bucket in ("another-systems", "dlcs-storage"):
        origin = classify(f"https://{bucket}.s3.amazonaws.com/x.tif")
        assert (origin.strategy, origin.location, origin.optimised) == (OriginStrategy.DEFAULT, None, False)
        assert origin.note is not None
        assert bucket in origin.note


def test_any_other_web_address_is_the_default() -> None:
    url = "https://user:secret@example.org/a.jpg?b=c"
    assert classify(f" {url} ") == Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=None)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "origin_missing"),
        ("  ", "origin_missing"),
        ("ftp://example.org/x", "origin_scheme_not_supported"),
        ("file:///etc/passwd", "origin_scheme_not_supported"),
        ("/etc/passwd", "origin_scheme_not_supported"),
        ("example.org/x.jpg", "origin_scheme_not_supported"),
        ("https://", "origin_malformed"),
        ("https:///x.jpg", "origin_malformed"),
        ("https://[::1/x.jpg", "origin_malformed"),
        ("https://example.org/a\nb", "origin_malformed"),
        ("https://example.org/a\0b", "origin_malformed"),
        ("https://example.org\r\nX-Injected: x/", "origin_malformed"),
        ("https://example.org:0/x.jpg", "origin_malformed"),
        ("https://example.org:99999/x.jpg", "origin_malformed"),
        ("gopher://example.org/x", "origin_scheme_not_supported"),
        ("data:image/png;base64,AAAA", "origin_scheme_not_supported"),
        ("s3://dlcs-origin", "origin_malformed"),
        ("s3://dlcs-origin/", "origin_malformed"),
    ],
)
def test_an_origin_that_cannot_be_read_is_refused(url: str, code: str) -> None:
    with pytest.raises(PermanentError) as refused:
        classify(url)
    assert refused.value.code == code


def test_an_error_about_an_origin_does_not_show_its_password() -> None:
    with pytest.raises(PermanentError) as refused:
        classify("sftp://user:secret@example.org/x?token=hidden")
    assert "secret" not in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.jpg", "https://example.org/a/b.jpg"),
        ("https://example.org:8080/@me/b.jpg", "https://example.org:8080/@me/b.jpg"),
        ("https://user:secret@example.org/a.jpg?token=secret#secret", "https://example.org/a.jpg?…"),
        ("https://secret@example.org", "https://example.org"),
        ("https://us@er:sec@ret@example.org/", "https://example.org/"),
        ("https://example.org/a.jpg#secret", "https://example.org/a.jpg?…"),
        ("https://user:sec/ret@example.org/", "https://…"),
        ("https://user:sec?ret@example.org/", "https://…"),
        ("https://user:1sec#ret@example.org/", "https://…"),
        ("//user:secret@example.org/x", "//example.org/x"),
        ("https://example.org/\x1b[2J\r\nx\u202egpj", r"https://example.org/\x1b[2J\r\nx\u202egpj"),
        ("user:secret@example.org/x", "example.org/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[::1/x?secret", "http://…"),
        ("s3://bucket/a?b#c@d", "s3://bucket/a?b#c@d"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
