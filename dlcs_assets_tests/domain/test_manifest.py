from __future__ import annotations

import json

import pytest

from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.delivery import Channel, RequestedChannel
from dlcs_assets.domain.manifest import Manifest, check_manifest, read_manifest
from dlcs_assets.domain.origin import OriginBucket

PLAIN = "id,origin\n2/1/p1,https://example.org/p1\n2/1/é,https://example.org/p2\n"
CUSTOMERS = Customers({2: Customer(2, buckets={"scans": OriginBucket()})})


def ids(manifest: Manifest) -> list[str]:
    assert manifest.mistakes == ()
    return [str(asset_id) for asset_id in manifest.asset_ids]


def mistakes(manifest: Manifest) -> list[tuple[int, str]]:
    return [(mistake.line, mistake.text) for mistake in manifest.mistakes]


def mistakes_of(text: str, *, customer: int | None = None) -> list[tuple[int, str]]:
    return mistakes(read_manifest(text.encode(), customer=customer))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        ("\n\n" + PLAIN.replace("\n", "\n\n")).encode(),
        PLAIN.removesuffix("\n").encode(),
        b'"ID", "Origin"\n 2/1/p1 , https://example.org/p1\n"2/1/\xc3\xa9","https://example.org/p2"\n',
        "\n".join(
            json.dumps({"Id": f"2/1/{name}", "origin": "https://example.org/p", "roles": None}) for name in ("p1", "é")
        ).encode("utf-8-sig"),
    ],
)
def test_what_spreadsheets_and_programs_write_is_read(data: bytes) -> None:
    assert ids(read_manifest(data)) == ["2/1/p1", "2/1/é"]


def test_a_row_says_all_that_a_message_can() -> None:
    text = (
        "id,origin,mediaType,deliveryChannels,maxUnauthorised,roles\n"
        '2/1/a,https://h/a,image/tiff,"iiif-img/use-original, thumbs",400,"r1, r2"\n'
        "2/1/b,https://h/b,,default,,\n"
        "2/1/c,https://h/c,,,,\n"
    )
    manifest = read_manifest(text.encode())
    first, second, third = manifest.rows
    assert manifest.mistakes == ()
    assert first.channels == (RequestedChannel(Channel.IIIF_IMG, "use-original"), RequestedChannel(Channel.THUMBS))
    assert (first.origin, first.media_type, first.max_unauthorised, first.roles) == (
        "https://h/a",
        "image/tiff",
        400,
        ("r1", "r2"),
    )
    assert second.channels == ()
    assert (third.channels, third.media_type, third.max_unauthorised, third.roles) == (None, None, None, None)


def test_a_row_of_json_says_it_in_the_words_of_messages() -> None:
    row = {
        "id": {"customer": 2, "space": 1, "asset": "a"},
        "origin": "https://h/a",
        "deliveryChannels": [{"channel": "iiif-img", "policy": "use-original"}, "thumbs"],
        "maxUnauthorised": 400,
        "roles": ["r1", "r2"],
    }
    (read,) = read_manifest(json.dumps(row).encode()).rows
    assert read.channels == (RequestedChannel(Channel.IIIF_IMG, "use-original"), RequestedChannel(Channel.THUMBS))
    assert (str(read.asset_id), read.max_unauthorised, read.roles) == ("2/1/a", 400, ("r1", "r2"))


def test_ids_are_completed_from_columns_and_options() -> None:
    text = "space,asset,origin\n7,a,https://h/a\n,b,https://h/b\n"
    assert ids(read_manifest(text.encode(), customer=2, space=1)) == ["2/7/a", "2/1/b"]
    assert ids(read_manifest(b"id,origin\na,https://h/a\n2/9/b,https://h/b\n", customer=2, space=1)) == [
        "2/1/a",
        "2/9/b",
    ]


def test_a_record_of_several_lines_has_the_number_of_its_first() -> None:
    text = 'id,origin,roles\n2/1/a,https://h/a,"one,\ntwo"\n2/1/b,,\n'
    assert [line for line, _ in mistakes_of(text)] == [2, 4]  # a role with a line break in it is none


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "there are no images in this manifest"),
        ("\n \n", 1, "there are no images in this manifest"),
        ("id,origin\n", 1, "there are no images in this manifest"),
        ("2/1/a,https://h/a\n", 1, "this is no header"),
        ("id,origin,x\n2/1/a,https://h/a,\n", 1, "there is no column 'x'. Columns are id, space, asset, origin, "),
        ("id,id,origin\n2/1/a,2/1/a,https://h/a\n", 1, "the column id is there more than once"),
        ("id\n2/1/a\n", 1, "there is no column origin"),
        ("id,origin\n2/1/a\n", 2, "this has 1 fields, the header has 2"),
        ("id,origin\n2/1/a,https://h/a,b\n", 2, "this has 3 fields, the header has 2"),
        ('id,origin\n2/1/a,"https://h/a\n', 2, "this is not CSV"),
        ("id,origin\n2/1/a,\n", 2, "2/1/a: it has no origin (origin_missing)"),
        ("id,origin\n,https://h/a\n", 2, "it has no id"),
        ("id,origin\n2/x/a,https://h/a\n", 2, "AssetId '2/x/a' is invalid"),
        (f"id,origin\n2/1/{'x' * 300},https://h/a\n", 2, "cannot be longer than 220"),
        ("id,origin\na,https://h/a\n", 2, "'a' does not say its customer and space"),
        ("id,asset,origin\n2/1/a,a,https://h/a\n", 2, "it has both id and asset"),
        ("id,space,origin\n2/1/a,3,https://h/a\n", 2, "its id 2/1/a is not of space 3"),
        ("id,space,origin\n2/1/a,x,https://h/a\n", 2, "space must be a whole number of 32 bits"),
        ("id,origin\n2/1/a,https://h/a\n2/1/a,https://h/b\n", 3, "2/1/a is on line 2 already"),
        ("id,origin\n2/1/a,https://h/a\n3/1/a,https://h/b\n", 3, "3/1/a is of another customer"),
        ("id,origin,deliveryChannels\n2/1/a,https://h/a,img\n", 2, "there is no delivery channel 'img'"),
        ("id,origin,deliveryChannels\n2/1/a,https://h/a,file none\n", 2, "channel_must_be_alone"),
        ("id,origin,deliveryChannels\n2/1/a,https://h/a,iiif-av\n", 2, "iiif_av_not_supported"),
        ("id,origin,maxUnauthorised\n2/1/a,https://h/a,large\n", 2, "maxUnauthorised must be a whole number"),
        ("id,origin,maxUnauthorised\n2/1/a,https://h/a,-2\n", 2, "maxUnauthorised must be -1 (no limit)"),
        ('[{"id": "2/1/a"}]', 1, "this is a JSON array"),
        ('{"id": "2/1/a", "origin": "https://h/a"}\n{"id":', 2, "this is not a JSON object"),
        ('{"id": "2/1/a", "origin": "https://h/a"}\n3', 2, "this is a number, not a JSON object"),
        ('{"id": "2/1/a", "url": "https://h/a", "origin": "https://h/a"}', 1, "there is no column 'url'"),
        ('{"id": "2/1/a", "ID": "2/1/b", "origin": "https://h/a"}', 1, "it has id more than once"),
        ('{"id": "2/1/a", "origin": 7}', 1, "origin must be a string"),
        ('{"id": "2/1/a", "origin": "https://h/a", "roles": 7}', 1, "roles must be a list of strings"),
        ('{"id": 7, "origin": "https://h/a"}', 1, "id must be a string"),
    ],
)
def test_a_mistake_is_reported_with_its_line(text: str, line: int, said: str) -> None:
    (found,) = mistakes_of(text)
    assert found[0] == line
    assert said in found[1]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PLAIN.encode("latin-1"), "this is not UTF-8: "),
        (PLAIN.encode("utf-16")[:-1], "this is not UTF-16-LE: "),
    ],
)
def test_another_encoding_is_refused_with_a_remedy(data: bytes, said: str) -> None:
    (mistake,) = read_manifest(data).mistakes
    assert said in mistake.text
    assert mistake.text.endswith("Save the manifest as UTF-8.")


def test_a_byte_that_is_not_utf_8_is_reported_with_its_line() -> None:
    (mistake,) = read_manifest(PLAIN.encode("latin-1")).mistakes
    assert mistake.line == 3


def test_an_id_of_a_customer_other_than_the_option_is_a_mistake() -> None:
    """Otherwise a wrong --customer would send images to the batch of another customer."""
    assert mistakes_of("id,origin\n2/1/a,https://h/a\n", customer=3) == [
        (2, "2/1/a is not of customer 3 (asset_id_malformed). Correct the id, or --customer.")
    ]


def test_all_mistakes_of_a_manifest_are_reported_at_once() -> None:
    text = (
        "id,origin,deliveryChannels,maxUnauthorised,colour\n"
        "2/1/a,https://h/a,thumbs/nope,1,\n"
        "2/1/a,ftp://h/a,,,\n"
        "2/x,,img,many,\n"
        "too,few\n"
        "2/1/b,s3://foreign/b,,,\n"
        "2/1/c,s3://scans/c,,,\n"
    )
    manifest = read_manifest(text.encode())
    more = check_manifest(manifest, CUSTOMERS.find, portal_bucket=None, own_buckets=())
    found = sorted((mistake.line, mistake.text) for mistake in (*manifest.mistakes, *more))
    expected = [
        (1, "there is no column 'colour'"),
        (2, "2/1/a: the channel thumbs has no policy 'nope' (unknown_policy)"),
        (3, "2/1/a is on line 2 already"),
        (3, "2/1/a: The origin ftp://h/a is neither"),
        (4, "AssetId '2/x' is invalid"),
        (4, "it has no origin"),
        (4, "maxUnauthorised must be a whole number"),
        (4, "there is no delivery channel 'img'"),
        (5, "this has 2 fields, the header has 5"),
        (6, "2/1/b: The bucket 'foreign'"),
    ]
    assert [line for line, _ in found] == [line for line, _ in expected]
    assert all(text.startswith(start) for (_, text), (_, start) in zip(found, expected, strict=True)), found


def test_a_customer_that_is_not_configured_is_reported_once() -> None:
    manifest = read_manifest(b"id,origin\n9/1/a,https://h/a\n9/1/b,https://h/b\n")
    (mistake,) = check_manifest(manifest, CUSTOMERS.find, portal_bucket=None, own_buckets=())
    assert (mistake.line, "customer_not_configured" in mistake.text) == (2, True)


def test_secrets_in_origins_are_not_shown() -> None:
    manifest = read_manifest(b"id,origin\n2/1/a,ftp://u:secret@h/a?sig=secret\n")
    (mistake,) = check_manifest(manifest, CUSTOMERS.find, portal_bucket=None, own_buckets=())
    assert "secret" not in mistake.text


def test_with_ids_only_nothing_else_is_checked() -> None:
    assert ids(read_manifest(b"id,maxUnauthorised\n2/1/a,many\n", ids_only=True)) == ["2/1/a"]
