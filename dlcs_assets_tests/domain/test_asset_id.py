from __future__ import annotations

import random

import pytest

from dlcs_assets.domain.asset_id import MAX_LENGTH, AssetId, InvalidAssetIdError
from dlcs_assets.domain.partition_key import asset_id_of, partition_key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/2/foo", AssetId(1, 2, "foo")),
        ("/2/1/godzilla", AssetId(2, 1, "godzilla")),
        ("2//1/godzilla/", AssetId(2, 1, "godzilla")),
        ("002/1/x", AssetId(2, 1, "x")),
        ("2/1/a b (3)%;'é.tif", AssetId(2, 1, "a b (3)%;'é.tif")),
        ("2147483647/0/x", AssetId(2147483647, 0, "x")),
    ],
)
def test_an_id_is_three_parts_and_empty_ones_do_not_count(text: str, expected: AssetId) -> None:
    assert AssetId.parse(text) == expected


def test_an_id_has_one_canonical_form() -> None:
    assert str(AssetId(19, 4, "my-first-image")) == "19/4/my-first-image"


def test_ids_are_equal_if_all_parts_are() -> None:
    assert AssetId.parse("99/100/foo") == AssetId.parse("99/100/foo")
    assert AssetId.parse("99/100/foo") != AssetId.parse("99/100/bar")
    assert AssetId.parse("99/100/foo") != AssetId.parse("99/100/FOO")


@pytest.mark.parametrize(
    "text",
    [
        *("image", "1/str/image", "", "1/2", "1/2/3/4", "-1/-1/_null_", "1.0/2/x", " 1/2/x", "1_0/2/x"),
        *("²/1/x", "1/2/a\nb", "1/2/a\x00", "1/2/\ud800", "1/2/.", "1/2/.."),
        # The DLCS engine breaks off on these with an overflow instead of saying that the id is malformed.
        *("99999999999/1/x", "2147483648/1/x", f"{'9' * 5000}/1/x"),
    ],
)
def test_an_invalid_id_is_refused_in_the_words_of_the_dlcs(text: str) -> None:
    """Guards against a message that libraries do not know, or one that repeats what cannot be stored."""
    with pytest.raises(
        InvalidAssetIdError, match=r"^AssetId '.*' is invalid. Must be in format customer/space/asset"
    ) as e:
        AssetId.parse(text)
    assert e.value.code == "asset_id_malformed"
    e.value.cause.encode()  # can be stored, whatever was in the id
    assert len(e.value.cause) < 400


def test_a_malformed_id_is_quoted() -> None:
    with pytest.raises(InvalidAssetIdError) as refused:
        AssetId.parse("1/str/image")
    assert refused.value.cause == "AssetId '1/str/image' is invalid. Must be in format customer/space/asset"


def test_the_constructor_refuses_what_parse_cannot_return() -> None:
    for customer, space, asset in [(1, 2, "a/b"), (-1, 2, "a"), (1, 2**31, "a"), (1, 2, "")]:
        with pytest.raises(InvalidAssetIdError):
            AssetId(customer, space, asset)


@pytest.mark.parametrize("asset", ["x" * 215, "x" * 250, "\N{GRINNING FACE}" * 108])
def test_an_id_of_more_than_220_characters_is_too_long(asset: str) -> None:
    with pytest.raises(InvalidAssetIdError, match="AssetId cannot be longer than 220") as refused:
        AssetId(10, 10, asset)
    assert refused.value.code == "asset_id_too_long"


def test_an_id_of_220_characters_is_not_too_long() -> None:
    assert len(str(AssetId(10, 10, "x" * 214))) == MAX_LENGTH
    assert AssetId(10, 10, "\N{GRINNING FACE}" * 107)  # each is two characters to the DLCS


@pytest.mark.parametrize(
    "value",
    [
        "1/99/foo",
        {"customer": 1, "space": 99, "asset": "foo"},
        {"Customer": "1", "SPACE": "99", "Asset": "foo", "more": True},
    ],
)
def test_json_holds_an_id_as_string_or_object(value: object) -> None:
    assert AssetId.of_json(value) == AssetId(1, 99, "foo")


@pytest.mark.parametrize(
    "value",
    [
        *(None, 12, [1, 2, "x"], {}, {"customer": 1, "space": 2}, {"customer": True, "space": 2, "asset": "x"}),
        *({"customer": 1.5, "space": 2, "asset": "x"}, {"customer": 1, "space": 2, "asset": 3}),
    ],
)
def test_json_that_is_not_an_id_is_malformed(value: object) -> None:
    with pytest.raises(InvalidAssetIdError) as refused:
        AssetId.of_json(value)
    assert refused.value.code == "asset_id_malformed"


@pytest.mark.parametrize(
    ("asset", "key"),
    [
        ("page-1", "@2/5/page-1"),
        ("Blatt 3 (recto) é.tif", "@2/5/Blatt 3 (recto) é.tif"),
        ("a..b", "@2/5/a..b"),
        ("a...b", "@2/5/a%2E%2E%2Eb"),
        ("50%", "@2/5/50%25"),
        ("a,b[1]*", "@2/5/a%2Cb%5B1%5D%2A"),
        ("""'"\\""", "@2/5/%27%22%5C"),
        ("%2E", "@2/5/%252E"),
        ("scan@2x", "@2/5/scan%402x"),
    ],
)
def test_a_partition_key_encodes_only_what_dagster_cannot_take(asset: str, key: str) -> None:
    assert partition_key(AssetId(2, 5, asset)) == key
    assert asset_id_of(key) == AssetId(2, 5, asset)


def test_searching_for_a_customers_space_finds_only_its_own_keys() -> None:
    """With a slash in front, a search for /2/ found space 2 of every customer, too."""
    own = partition_key(AssetId(2, 5, "page-1"))
    others = [AssetId(12, 2, "x"), AssetId(12, 5, "x"), AssetId(3, 2, "5"), AssetId(1, 1, "@2"), AssetId(1, 1, "a@2")]
    for typed in ("@2/", "@2/5/", "@2/5/page-1"):
        assert typed in own
        assert not [other for other in others if typed in partition_key(other)]


def test_every_id_can_be_read_from_its_partition_key() -> None:
    generator = random.Random(20251122)
    alphabet = "ab9 .%,[]*'\"\\()@&;$`+?#=~_-éß漢\N{GRINNING FACE}\u2028\u00a0"
    for _ in range(3000):
        asset = "".join(generator.choices(alphabet, k=generator.randint(1, 40)))
        if asset in {".", ".."}:
            continue
        asset_id = AssetId(generator.randint(0, 2**31 - 1), generator.randint(0, 999), asset)
        key = partition_key(asset_id)
        assert asset_id_of(key) == asset_id
        assert "..." not in key
        assert not set(key) & set(",[]*'\"\\")
        assert key.rindex("@") == 0


def test_keys_of_different_ids_differ() -> None:
    assets = ["...", "%2E%2E%2E", "....", "%", "%25", "a%", "a,"]
    assert len({partition_key(AssetId(1, 1, asset)) for asset in assets}) == len(assets)


@pytest.mark.parametrize("key", ["", "@", "@2/1", "@2/1/%FF", "@2/1/%00", "@2/1/a%2Fb", "@@2/1/a"])
def test_a_key_that_belongs_to_no_asset_is_refused(key: str) -> None:
    """A key typed in Dagster's UI must not be decoded to an asset with other characters."""
    with pytest.raises(InvalidAssetIdError):
        asset_id_of(key)
