from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from dlcs_assets_tests.stack.image_server.conftest import BUCKET, Server
from dlcs_stack.image_server.identifiers import S3Object, locate, parse_target
from dlcs_stack.image_server.refusal import RefusalError
from dlcs_testing.image_server_pictures import decoded, encoded, quadrants

PICTURE = encoded(quadrants(60, 40), "PNG")
ODD_KEYS = [
    "2/1/page;2",
    "2/1/page;2;1:2",
    "2/1/what?.png",
    "2/1/a#b",
    "2/1/100%",
    "2/1/100%2F",
    "2/1/two words",
    "2/1/plus+and&=",
    '2/1/it\'s "quoted"',
    "2/1/Händschrift-页",
    "2/1/back\\slash",
    "2/1/info.json",
    "eu-west-1/x/y",
    "2/1/a/original",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_percent_encoded_key_with_odd_characters_is_found(server: Server, key: str) -> None:
    """Ids of the DLCS may hold any of them; a key must be decoded exactly once."""
    answer = server.get(server.put(key, PICTURE), "full/30,/0/default.jpg")
    assert answer.status_code == 200, answer.text
    assert decoded(answer.content).size == (30, 20)


def test_identifiers_as_the_dlcs_engine_writes_them_are_read(server: Server) -> None:
    server.put("2/1/foo", PICTURE)
    answer = server.get(f"s3:%2f%2feu-west-1%2f{BUCKET}%2f2%2f1%2ffoo", "full/!30,30/0/default.jpg")
    assert decoded(answer.content).size == (30, 20)


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://my-bucket/2/my-key", "my-bucket", "2/my-key"),
        ("s3://eu-west-1/bucket-name/2/1/foo", "bucket-name", "2/1/foo"),
        ("s3://us-gov-west-1/bucket-name/foo", "bucket-name", "foo"),
        ("s3://bucket.with.dots//double", "bucket.with.dots", "/double"),
    ],
)
def test_an_s3_identifier_may_name_its_region(text: str, bucket: str, key: str) -> None:
    assert locate(text, ()) == S3Object(bucket, key)


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "http://bucket/key", "page-1", "s3:/bucket/key", ""])
def test_an_identifier_of_no_known_form_is_a_404(text: str) -> None:
    with pytest.raises(RefusalError) as caught:
        locate(text, ())
    assert caught.value.status == 404


def test_an_identifier_is_decoded_once_and_from_the_raw_path() -> None:
    assert parse_target(b"/iiif/3/a%252Fb%2Fc/info.json").identifier == "a%2Fb/c"
    with pytest.raises(RefusalError) as caught:
        parse_target(b"/iiif/3/s3://bucket/key/full/max/0/default.jpg")
    assert caught.value.status == 404
    with pytest.raises(RefusalError) as caught:
        parse_target(b"/iiif/3/%ff%fe/info.json")
    assert caught.value.status == 400


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "file://localhost{}"])
def test_a_file_below_a_root_is_served(server: Server, pages: Path, form: str) -> None:
    path = pages / "page 1;2%.png"
    path.write_bytes(PICTURE)
    answer = server.get(quote(form.format(path), safe=""), "full/max/0/default.png")
    assert decoded(answer.content).size == (60, 40)


def test_a_file_that_is_replaced_is_served_fresh(server: Server, pages: Path) -> None:
    path = pages / "replaced.png"
    for size in ((60, 40), (20, 50)):
        path.write_bytes(encoded(quadrants(*size), "PNG"))
        answer = server.get(quote(str(path), safe=""), "full/max/0/default.png")
        assert decoded(answer.content).size == size


def test_nothing_outside_the_roots_is_served(server: Server, pages: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(PICTURE)
    link = pages / "link.png"
    link.symlink_to(secret)
    inside = pages / "inside.png"
    inside.symlink_to(pages / "target.png")
    (pages / "target.png").write_bytes(PICTURE)
    traversal = f"{pages}/../{tmp_path.relative_to(pages.parent)}/secret.png"
    assert Path(traversal).read_bytes() == PICTURE
    for name in (str(secret), str(link), traversal, f"file://{secret}", f"{pages}", "/" + "x" * 5000, f"{pages}/\0"):
        assert server.get(quote(name, safe=""), "info.json").status_code == 404, name
    assert server.get(quote(str(inside), safe=""), "info.json").status_code == 200


def test_a_path_below_a_root_is_served_and_leads_nowhere_else(server: Server, pages: Path, tmp_path: Path) -> None:
    folder = pages / "request 1;2%"
    folder.mkdir()
    (folder / "original").write_bytes(PICTURE)
    (tmp_path / "secret.png").write_bytes(PICTURE)
    (folder / "link").symlink_to(tmp_path / "secret.png")
    answer = server.get(quote("request 1;2%/original", safe=""), "full/max/0/default.png")
    assert decoded(answer.content).size == (60, 40)
    traversal = f"../{tmp_path.relative_to(pages.parent)}/secret.png"
    assert (pages / traversal).read_bytes() == PICTURE
    for name in ("request 1;2%/link", traversal, "request 1;2%", "original", "file:request 1;2%/original"):
        assert server.get(quote(name, safe=""), "info.json").status_code == 404, name


def test_the_request_log_has_a_line_for_each_request(serve: Callable[..., Server], tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    server = serve(request_log=log)
    page = server.put("2/1/logged é", PICTURE)
    server.get(page, "full/!30,30/0/default.jpg?cache=recache")
    server.get(page, "info.json", version=2)
    server.get(page, "full/bad/0/default.jpg")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(line["version"], line["asked"], line["query"], line["status"]) for line in lines] == [
        (3, "full/!30,30/0/default.jpg", "cache=recache", 200),
        (2, "info.json", "", 200),
        (3, "full/bad/0/default.jpg", "", 400),
    ]
    assert {line["identifier"] for line in lines} == {f"s3://{BUCKET}/2/1/logged é"}
    assert lines[0]["milliseconds"] > 0
