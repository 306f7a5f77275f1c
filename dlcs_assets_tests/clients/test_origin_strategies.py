"""Basic authentication, buckets elsewhere, and downloads that break off, over real sockets."""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.origins.client import READERS
from dlcs_assets.clients.transfer import Fetched
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.origin import Origin, OriginBucket, OriginStrategy, OriginStrategyRule
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, ScriptedServer, refused_url, scripted_server

LOOPBACK = ["127.0.0.0/8"]
IMAGE = bytes(range(256)) * 8192  # 2 MB: several chunks
SHA256 = hashlib.sha256(IMAGE).hexdigest()
RULE = OriginStrategyRule("partner", OriginStrategy.BASIC_HTTP, lambda _: True, credentials="env:PARTNER")
PASSWORD = "pass" + "word"  # in pieces: tracebacks quote lines of the source
TOKEN = "hunter" + "2"
BASIC = "dXNlcjpwYXNzd29yZA=="


def basic(url: str) -> Origin:
    return Origin(url, OriginStrategy.BASIC_HTTP, None, optimised=False, note=None, rule=RULE)


def plain(url: str) -> Origin:
    return Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=None)


@pytest.fixture
def origins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origins]:
    monkeypatch.setenv("PARTNER", json.dumps({"user": "user", "password": PASSWORD}))
    client = Origins(s3=S3ClientFactory(), private_networks=LOOPBACK, first_delay_seconds=0.001, timeout_seconds=5.0)
    yield client
    client.close()


def asked_with(server: ScriptedServer) -> list[str | None]:
    given = [asked.headers.get("authorization") for asked in server.asked]
    return [header and header.removeprefix("Basic ") for header in given]


def test_basic_authentication_sends_user_and_password(origins: Origins, tmp_path: Path) -> None:
    with scripted_server(Answer(200, IMAGE)) as server:
        assert origins.fetch(basic(f"{server.url}/a.jpg"), tmp_path / "original").sha256 == SHA256
        assert origins.peek(basic(f"{server.url}/a.jpg"), limit=9).head == IMAGE[:9]
        assert asked_with(server) == [BASIC, BASIC]


def test_credentials_do_not_follow_a_redirect_to_another_host(origins: Origins, tmp_path: Path) -> None:
    """Nor back from there: a host that redirects to us must not choose what is asked with our password."""
    with scripted_server(Answer(200, IMAGE)) as home, scripted_server(Answer(404)) as other:
        home.by_path["/same"] = Answer(302, b"", (("Location", "/away"),))
        home.by_path["/away"] = Answer(302, b"", (("Location", f"{other.url}/and-back"),))
        other.by_path["/and-back"] = Answer(302, b"", (("Location", f"{home.url}/image"),))
        assert origins.fetch(basic(f"{home.url}/same"), tmp_path / "original").sha256 == SHA256
        assert asked_with(home) == [BASIC, BASIC, None]
        assert asked_with(other) == [None]


def test_credentials_of_one_request_are_not_sent_with_the_next(origins: Origins, tmp_path: Path) -> None:
    with scripted_server(Answer(200, IMAGE)) as server:
        for origin in (basic(server.url), plain(server.url)):
            origins.fetch(origin, tmp_path / "original")
        assert asked_with(server) == [BASIC, None]


def test_refused_credentials_name_strategy_and_are_read_again(
    origins: Origins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No secret is shown, and corrected credentials apply to the next attempt without a restart."""
    with scripted_server(Answer(401)) as server, caplog.at_level(logging.DEBUG):
        with pytest.raises(PermanentError) as refused:
            origins.fetch(basic(f"{server.url}/a.jpg?token={TOKEN}"), tmp_path / "original")
        assert refused.value.code == "origin_login_refused"
        assert "origin strategy 'partner' (basic-http-authentication)" in refused.value.cause
        shown = "".join(traceback.format_exception(refused.value)) + caplog.text
        assert [secret for secret in (TOKEN, BASIC, PASSWORD) if secret in shown] == []
        server.answers[:] = [Answer(200, IMAGE)]
        monkeypatch.setenv("PARTNER", json.dumps({"user": "user", "password": "corrected"}))
        origins.fetch(basic(server.url), tmp_path / "original")
        assert asked_with(server)[0] != asked_with(server)[-1]


def test_an_origin_that_forbids_is_not_a_wrong_password(origins: Origins, tmp_path: Path) -> None:
    with scripted_server(Answer(403)) as server:
        with pytest.raises(PermanentError) as refused:
            origins.fetch(basic(server.url), tmp_path / "original")
        assert refused.value.code == "origin_refused"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "origin_credentials_not_found"),
        ("{}", "origin_credentials_malformed"),
        (json.dumps({"user": "user", "privateKey": "x"}), "origin_credentials_malformed"),
    ],
)
def test_without_credentials_no_request_is_sent(
    origins: Origins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, code: str
) -> None:
    if value is None:
        monkeypatch.delenv("PARTNER")
    else:
        monkeypatch.setenv("PARTNER", value)
    with scripted_server(Answer(200, IMAGE)) as server:
        with pytest.raises(PermanentError) as refused:
            origins.fetch(basic(server.url), tmp_path / "original")
        assert (refused.value.code, server.asked) == (code, [])


# Downloads that break off


def broken(etag: str | None = '"v1"', data: bytes = IMAGE) -> Answer:
    headers = (("ETag", etag),) if etag else ()
    return Answer(200, data, headers, "break off")


def ranges(server: ScriptedServer) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked]


HALF = len(IMAGE) // 2


def rest(start: int = HALF, etag: str = '"v1"', data: bytes = IMAGE, total: str | None = None) -> Answer:
    content_range = f"bytes {start}-{len(data) - 1}/{total or len(data)}"
    return Answer(206, data[start:], (("ETag", etag), ("Content-Range", content_range), ("Content-Type", "image/tiff")))


def test_an_interrupted_download_continues_where_it_ended(origins: Origins, tmp_path: Path) -> None:
    with scripted_server(broken(), rest()) as server:
        fetched = origins.fetch(plain(server.url), tmp_path / "original")
        assert ranges(server) == [None, f"bytes={HALF}-"]
        assert server.asked[1].headers["if-range"] == '"v1"'
        assert fetched.path.read_bytes() == IMAGE
        assert (fetched.bytes, fetched.sha256, fetched.version) == (len(IMAGE), SHA256, "v1")
        assert fetched.content_type == "image/tiff"


def test_an_original_that_changed_meanwhile_is_fetched_again(origins: Origins, tmp_path: Path) -> None:
    changed = IMAGE[::-1]
    with scripted_server(broken(), Answer(200, changed, (("ETag", '"v2"'),))) as server:
        fetched = origins.fetch(plain(server.url), tmp_path / "original")
        assert (fetched.sha256, fetched.version) == (hashlib.sha256(changed).hexdigest(), "v2")
        assert fetched.path.read_bytes() == changed


@pytest.mark.parametrize(
    "wrong",
    [
        rest(etag='"v2"', data=IMAGE[::-1]),
        rest(start=HALF + 1),
        Answer(206, IMAGE[HALF:], (("ETag", '"v1"'),)),
        replace(rest(), headers=(*rest().headers, ("Content-Encoding", "br"))),
        Answer(416),
    ],
)
def test_the_rest_of_another_original_is_not_appended(origins: Origins, tmp_path: Path, wrong: Answer) -> None:
    with scripted_server(broken(), wrong, Answer(200, IMAGE)) as server:
        fetched = origins.fetch(plain(server.url), tmp_path / "original")
        assert ranges(server) == [None, f"bytes={HALF}-", None]
        assert fetched.path.read_bytes() == IMAGE
        assert fetched.sha256 == SHA256


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_etag_no_download_is_continued(origins: Origins, tmp_path: Path, etag: str | None) -> None:
    with scripted_server(broken(etag), Answer(200, IMAGE)) as server:
        assert origins.fetch(plain(server.url), tmp_path / "original").sha256 == SHA256
        assert ranges(server) == [None, None]


def test_a_rest_that_comes_in_pieces_is_put_together(origins: Origins, tmp_path: Path) -> None:
    second = replace(rest(), fault="break off")
    with scripted_server(broken(), second, rest(HALF + HALF // 2)) as server:
        assert origins.fetch(plain(server.url), tmp_path / "original").sha256 == SHA256
        assert ranges(server) == [None, f"bytes={HALF}-", f"bytes={HALF + HALF // 2}-"]


def test_an_answer_shorter_than_announced_is_not_accepted(origins: Origins, tmp_path: Path) -> None:
    with scripted_server(broken(), rest(total=str(len(IMAGE) + 1))) as server:
        with pytest.raises(TransientError) as caught:
            origins.fetch(plain(server.url), tmp_path / "original")
        assert caught.value.code == "origin_broke_off"
        assert list(tmp_path.iterdir()) == []


def test_the_limit_counts_what_came_before(origins: Origins, tmp_path: Path) -> None:
    small = Origins(
        s3=S3ClientFactory(), private_networks=LOOPBACK, first_delay_seconds=0.001, max_bytes=len(IMAGE) - 1
    )
    headers = (("ETag", '"v1"'), ("Transfer-Encoding", "chunked"))
    half = b"%x\r\n%s\r\n" % (HALF, IMAGE[:HALF])
    with scripted_server(Answer(200, half * 2, headers, "break off"), rest()) as server:
        with pytest.raises(PermanentError) as caught:
            small.fetch(plain(server.url), tmp_path / "original")
        assert caught.value.code == "origin_too_large"
    small.close()
    origins.close()


# Buckets elsewhere, and objects that break off


def ambient(bucket: str, key: str, place: OriginBucket) -> Origin:
    location = S3Location(bucket, key)
    return Origin(location.uri(), OriginStrategy.S3_AMBIENT, location, optimised=False, note=None, bucket=place)


def at(url: str, **options: Any) -> S3ClientFactory:
    return S3ClientFactory(
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        max_attempts=1,
        **options,
    )


def fetch(origin: Origin, s3: S3ClientFactory, folder: Path, **options: Any) -> Fetched:
    client = Origins(s3=s3, first_delay_seconds=0.001, **options)
    try:
        return client.fetch(origin, folder / "original")
    finally:
        client.close()


def test_a_bucket_elsewhere_is_read_at_its_endpoint_and_region(aws: Aws, bucket: str, tmp_path: Path) -> None:
    client = aws.s3().get_client()
    client.put_object(Bucket=bucket, Key="a.tif", Body=IMAGE)
    client.close()
    elsewhere = ambient(bucket, "a.tif", OriginBucket(aws.endpoint, "eu-central-1"))
    with scripted_server(Answer(404)) as ours:
        assert fetch(elsewhere, at(ours.url), tmp_path).sha256 == SHA256
        assert ours.asked == []
    with scripted_server(Answer(200, IMAGE, (("ETag", '"e"'),))) as server:
        fetch(ambient("b", "k", OriginBucket(region="eu-central-1")), at(server.url), tmp_path)
        assert "/eu-central-1/s3/" in server.asked[0].headers["authorization"]


def test_an_endpoint_of_a_customer_is_not_a_service_of_ours(tmp_path: Path) -> None:
    """If it is down, the image fails transiently; it must not count as an outage of S3 and stop all images."""
    with pytest.raises(TransientError) as caught:
        fetch(ambient("b", "k", OriginBucket(refused_url())), at("http://127.0.0.1:9"), tmp_path, attempts=1)
    assert not isinstance(caught.value, ServiceDownError)
    assert caught.value.code == "origin_unreachable"


def test_an_interrupted_object_download_continues(tmp_path: Path) -> None:
    with scripted_server(broken(), rest()) as server:
        fetched = fetch(ambient("b", "k", OriginBucket()), at(server.url), tmp_path)
        assert ranges(server) == [None, f"bytes={HALF}-"]
        assert server.asked[1].headers["if-match"] == '"v1"'
        assert (fetched.bytes, fetched.sha256) == (len(IMAGE), SHA256)
        assert fetched.path.read_bytes() == IMAGE


def test_an_object_that_changed_meanwhile_is_fetched_again(tmp_path: Path) -> None:
    changed = IMAGE[::-1]
    gone = Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
    with scripted_server(broken(), gone, Answer(200, changed, (("ETag", '"v2"'),))) as server:
        fetched = fetch(ambient("b", "k", OriginBucket()), at(server.url), tmp_path)
        assert fetched.path.read_bytes() == changed
        assert (fetched.sha256, fetched.version) == (hashlib.sha256(changed).hexdigest(), "v2")


def test_an_object_denied_on_the_way_is_not_fetched_again(tmp_path: Path) -> None:
    denied = Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
    with scripted_server(broken(), denied) as server, pytest.raises(IngestError) as caught:
        fetch(ambient("b", "k", OriginBucket()), at(server.url), tmp_path)
    assert caught.value.code == "origin_refused"
    assert list(tmp_path.iterdir()) == []


def test_each_origin_strategy_has_a_reader() -> None:
    """A strategy without one would fail when the first image of a customer is fetched."""
    assert READERS.keys() == set(OriginStrategy)
