"""Ids, keys, sizes and addresses: what is read is written back the same, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.iiif_size import InvalidSizeError, Size, parse_size, resolve, size_to_ask, validate_policy_size
from dlcs_assets.domain.origin import classify_origin
from dlcs_assets.domain.partition_key import asset_id_of, partition_key
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.s3_uri import parse_s3_uri
from dlcs_assets.domain.signed_url import is_signed, unsigned
from dlcs_assets.domain.storage_keys import jp2_key
from dlcs_assets.domain.upload import asset_of_key
from dlcs_assets_tests.fuzz.generating import ODD_TEXT

NAMES = st.text(min_size=1, max_size=30) | st.text("/%.: \\?#+&=~\x00é𝟚\ud83d", max_size=12) | ODD_TEXT
IDS = st.builds("{}/{}/{}".format, st.integers(-2, 10**12) | NAMES, st.integers(-2, 10**12) | NAMES, NAMES) | NAMES
SIZES = st.from_regex(r"\A\^?!?(?:max|full|pct:[0-9.]{0,6}|[0-9]{0,12},[0-9]{0,12})\Z") | NAMES
URLS = (
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["http://", "https://", "s3://", "sftp://", "ftp://", "file://", "//", "", "HTTP:"]),
        st.sampled_from(["", "user:secret@", "user:se/cret@", "user@"]),
        st.sampled_from(
            ["example.org", "[::1]", "[", "127.1", "bucket", "s3.amazonaws.com/bucket", "a" * 300, "é.org:99999"]
        ),
        NAMES.map(lambda name: f"/{name}") | st.sampled_from(["", "?sig=secret", "#secret", "/k?versionId=secret"]),
    )
    | NAMES
)


@given(IDS)
@example("2/1/")
@example("٢/1/x")
def test_an_id_is_what_it_is_written_as(text: str) -> None:
    try:
        asset_id = AssetId.parse(text)
    except MessageRejectedError as error:
        assert error.cause
        return
    assert AssetId.parse(str(asset_id)) == asset_id
    assert asset_id_of(partition_key(asset_id)) == asset_id
    assert ".." not in jp2_key(asset_id).split("/")


@given(NAMES | IDS)
def test_a_key_of_an_upload_is_one_image_or_refused(key: str) -> None:
    try:
        asset_id = asset_of_key(key)
    except MessageRejectedError as error:
        assert error.code == "key_outside_convention"
        return
    assert str(asset_id) == key


@given(NAMES)
def test_a_partition_of_the_uis_making_is_an_image_or_refused(key: str) -> None:
    try:
        asset_id = asset_id_of(key)
    except MessageRejectedError:
        return
    assert asset_id_of(partition_key(asset_id)) == asset_id


@given(SIZES, st.integers(1, 100_000), st.integers(1, 100_000))
def test_a_size_gives_pixels_within_its_bounds_or_is_refused(text: str, width: int, height: int) -> None:
    try:
        parameter = parse_size(text)
    except InvalidSizeError as error:
        assert str(error)
        with pytest.raises(InvalidSizeError):
            validate_policy_size(text)
        return
    size = resolve(parameter, Size(width, height))
    if size is not None:
        assert size.width >= 1
        assert size.height >= 1
        assert resolve(parse_size(size_to_ask(parameter, Size(width, height))), Size(width, height)) is not None


@given(URLS)
def test_an_address_has_a_strategy_or_is_refused(url: str) -> None:
    """Whatever it is, no message shows the secrets in it."""
    shown = shown_url(url)
    if "secret" in url and not url.lower().startswith("s3://"):
        assert "secret" not in shown
    assert all(character.isprintable() for character in shown) or url.lower().startswith("s3://")
    assert not is_signed(unsigned(url))
    location = parse_s3_uri(url)
    if location is not None:
        again = parse_s3_uri(location.uri())
        assert again is not None
        assert (again.bucket, again.key) == (location.bucket, location.key)
    try:
        classify_origin(url, customer=2, portal_bucket="portal", ambient_buckets=["bucket"], own_buckets=["storage"])
    except IngestError as error:
        assert error.code.startswith("origin_")
        if not url.strip().lower().startswith("s3://"):
            assert "secret" not in str(error)
