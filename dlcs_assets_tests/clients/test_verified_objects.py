"""Objects are stored as they are, or not at all: against an S3 that compares checksums and signatures itself."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients import aws
from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.s3_puts import Upload, _body
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_testing.http_serving import Answer, serving
from dlcs_testing.scripted_server import Answer as Answered
from dlcs_testing.scripted_server import scripted_server
from dlcs_testing.verifying_s3 import VerifyingS3, error, verifying_s3

DATA = b"some bytes of a JP2"
SHA256 = hashlib.sha256(DATA).hexdigest()
KEYS = ["2/1/foo", "2/1/50% off+é ?x#&<y>'(z)~", "2/1/日本/..", "2/1/a//b", "/leading", "2/1/x/", "2/1/.%2F"]
OURS = "DLCS/2.0"  # the user agent of what is not sent by boto3


@pytest.fixture
def s3() -> Iterator[VerifyingS3]:
    with verifying_s3("b") as s3:
        yield s3


@pytest.fixture
def storage(s3: VerifyingS3) -> Iterator[Storage]:
    with storage_of(s3) as storage:
        yield storage


@pytest.fixture
def practised(s3: VerifyingS3, storage: Storage) -> Storage:
    """Return one that has stored something, and knows where the bucket is."""
    storage.put_bytes(b"", "b", "first", "text/plain")
    s3.asked.clear()
    s3.buckets["b"].clear()
    return storage


def storage_of(s3: VerifyingS3, **options: Any) -> Storage:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    factory = S3ClientFactory(endpoint_url=s3.url, region_name="eu-west-1", **{"max_attempts": 2, **keys, **options})
    return Storage(s3=factory, attempts=2, first_delay_seconds=0.001)


def agents(s3: VerifyingS3) -> list[str]:
    """Return who sent each request: boto3 or we."""
    return [each.headers["user-agent"].partition(" ")[0] for each in s3.asked]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.jp2"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("key", KEYS)
def test_any_key_is_signed_right(s3: VerifyingS3, storage: Storage, file: Path, key: str) -> None:
    for data in (b"by boto3", b"by us"):
        storage.put_bytes(data, "b", key, "text/plain")
        assert {name: kept.data for name, kept in s3.buckets["b"].items()} == {key: data}
    storage.put_file(file, "b", key, "image/jp2", SHA256)
    assert {name: kept.data for name, kept in s3.buckets["b"].items()} == {key: DATA}
    assert {each.status for each in s3.answered} == {200}
    assert agents(s3)[1:] == [OURS, OURS]


def test_all_but_the_first_object_go_without_boto3(s3: VerifyingS3, storage: Storage) -> None:
    """That one shows where the bucket is."""
    for number in range(4):
        storage.put_bytes(DATA, "b", f"{number}", "image/jpeg")
    first, *others = agents(s3)
    assert first.startswith("Boto3/")
    assert others == [OURS] * 3


def test_an_object_is_stored_with_type_and_checksum(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    """As the DLCS's readers, the fixity audit and a rebuild of the ledger rely on it, whether boto3 sends it or not."""
    for round_ in ("by boto3", "by us"):
        storage.put_file(file, "b", f"file {round_}", "image/jp2", SHA256)
        storage.put_bytes(DATA, "b", f"bytes {round_}", "image/jp2")
    assert len(s3.buckets["b"]) == 4
    for kept in s3.buckets["b"].values():
        assert kept.data == DATA
        headers = dict(kept.headers)
        assert headers.pop("content-type") == "image/jp2"
        assert headers.pop("x-amz-meta-sha256") == SHA256
        assert base64.b64decode(headers.pop("x-amz-checksum-sha256")).hex() == SHA256
        assert headers == {}
    assert {each.headers["x-amz-sdk-checksum-algorithm"] for each in s3.asked} == {"SHA256"}  # moto goes by it


def test_a_verified_upload_is_one_request(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    for puts in (1, 2):
        stored = storage.put_file(file, "b", "k", "image/jp2", SHA256)
        assert s3.methods == {"PUT": puts}
    assert stored == storage.head("b", "k")


def test_an_upload_that_is_not_verified_is_looked_at(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    """Some stores with S3's protocol compare nothing: they do not return a checksum."""
    s3.checks_sums = s3.repeats_sums = False
    for puts in (1, 2):
        storage.put_file(file, "b", "k", "image/jp2", SHA256)
        assert s3.methods == {"PUT": puts, "HEAD": puts}
    s3.damage = lambda body: body[:5]
    with pytest.raises(TransientError) as caught:
        storage.put_file(file, "b", "k", "image/jp2", SHA256)
    assert caught.value.code == "storage_incomplete"


@pytest.mark.parametrize("fixture", ["storage", "practised"])
@pytest.mark.parametrize("size", [len(DATA), 2**19])
def test_a_file_that_changed_since_it_was_hashed_is_refused(
    s3: VerifyingS3, file: Path, request: pytest.FixtureRequest, fixture: str, size: int
) -> None:
    storage = request.getfixturevalue(fixture)
    file.write_bytes(DATA.upper() + bytes(size - len(DATA)))
    with pytest.raises(TransientError) as caught:
        storage.put_file(file, "b", "k", "image/jp2", SHA256)
    assert caught.value.code == "storage_unavailable"
    assert caught.value.cause.startswith("Storing b/k: BadDigest")
    assert s3.buckets["b"] == {}


@pytest.mark.parametrize("fixture", ["storage", "practised"])
def test_bytes_that_are_damaged_on_their_way_are_refused(
    s3: VerifyingS3, request: pytest.FixtureRequest, fixture: str
) -> None:
    storage = request.getfixturevalue(fixture)
    s3.damage = lambda body: body.replace(b"J", b"j")
    with pytest.raises(TransientError):
        storage.put_bytes(DATA, "b", "k", "image/jp2")
    assert s3.buckets["b"] == {}


def test_a_large_file_is_sent_block_by_block(s3: VerifyingS3, practised: Storage, file: Path) -> None:
    data = bytes(range(256)) * 8000
    file.write_bytes(data)
    practised.put_file(file, "b", "k", "image/tiff", hashlib.sha256(data).hexdigest())
    assert s3.buckets["b"]["k"].data == data
    assert agents(s3) == [OURS]
    upload = Upload(S3Location("b", "k"), file, len(data), "image/tiff", SHA256)
    assert max(map(len, _body(upload))) <= 2**18  # type: ignore[arg-type]  # it is an iterator


def test_no_more_of_a_file_is_sent_than_was_promised(file: Path) -> None:
    """Otherwise the rest would be read as the next request."""
    for size in (len(DATA), 2**19):
        file.write_bytes(bytes(2 * size))
        upload = Upload(S3Location("b", "k"), file, size, "image/tiff", SHA256)
        body = _body(upload)
        assert len(body if isinstance(body, bytes) else b"".join(body)) == size


WORDS = [
    (error(403, "AccessDenied", "Access Denied"), PermanentError, "storage_refused"),
    (error(404, "NoSuchBucket", "The specified bucket does not exist"), PermanentError, "storage_not_found"),
    (error(400, "ExpiredToken", "The provided token has expired."), TransientError, "storage_unavailable"),
    (error(503, "SlowDown", "Please reduce your request rate."), TransientError, "storage_unavailable"),
    (error(500, "InternalError", "We encountered an internal error."), TransientError, "storage_unavailable"),
    (error(429, "TooManyRequests", "Slow down"), TransientError, "storage_unavailable"),
    (error(403, "InvalidObjectState", "", "<StorageClass>GLACIER</StorageClass>"), PermanentError, "storage_archived"),
    (Answer(502, b"<html>Bad gateway</html>"), TransientError, "storage_unavailable"),
]


@pytest.mark.parametrize(("answer", "kind", "code"), WORDS)
def test_errors_are_worded_as_boto3_has_them(
    s3: VerifyingS3, practised: Storage, answer: Answer, kind: type[IngestError], code: str
) -> None:
    causes = []
    for storage in (storage_of(s3), practised):
        s3.trouble = [answer] * 5
        with pytest.raises(IngestError) as caught:
            storage.put_bytes(DATA, "b", "k", "image/jpeg")
        assert (type(caught.value), caught.value.code) == (kind, code)
        causes.append(caught.value.cause)
    assert causes[0] == causes[1]
    s3.trouble = []
    practised.put_bytes(DATA, "b", "k", "image/jpeg")
    assert s3.buckets["b"]["k"].data == DATA


@pytest.mark.parametrize("attempts", [2, 4])
def test_a_busy_s3_gets_no_more_requests_than_the_limit(s3: VerifyingS3, attempts: int) -> None:
    with storage_of(s3, max_attempts=attempts) as storage:
        storage.put_bytes(DATA, "b", "k", "image/jpeg")
        s3.asked.clear()
        s3.trouble = [error(503, "SlowDown", "Please reduce your request rate.")] * 10
        with pytest.raises(TransientError):
            storage.put_bytes(DATA, "b", "k", "image/jpeg")
    assert len(s3.asked) == attempts


def test_what_was_refused_once_is_sent_again(s3: VerifyingS3, practised: Storage) -> None:
    s3.trouble = [error(503, "SlowDown", "Please reduce your request rate.")]
    practised.put_bytes(DATA, "b", "k", "image/jpeg")
    practised.put_bytes(DATA, "b", "l", "image/jpeg")
    assert s3.buckets["b"].keys() == {"k", "l"}
    assert [agent == OURS for agent in agents(s3)] == [True, False, True]


def test_where_it_is_always_refused_boto3_does_it(s3: VerifyingS3, practised: Storage) -> None:
    """Not every store takes what AWS takes; then nothing is asked twice."""
    s3.trouble = [error(400, "NotImplemented", "x-amz-sdk-checksum-algorithm")]
    for key in "kl":
        practised.put_bytes(DATA, "b", key, "image/jpeg")
    assert [agent == OURS for agent in agents(s3)] == [True, False, False]


def test_a_store_that_hangs_is_left_by_the_limits() -> None:
    with scripted_server(Answered(200, headers=(("ETag", '"e"'),)), Answered(fault="hang")) as server:
        factory = S3ClientFactory(
            endpoint_url=server.url,
            region_name="eu-west-1",
            max_attempts=2,
            read_timeout_seconds=0.3,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        with Storage(s3=factory, first_delay_seconds=0.001) as storage:
            storage.put_bytes(DATA, "b", "k", "image/jpeg")
            with pytest.raises(TransientError) as caught:
                storage.put_bytes(DATA, "b", "k", "image/jpeg")
        assert caught.value.code == "storage_unavailable"
        assert len(server.asked) == 1 + 2


def test_what_goes_by_a_proxy_is_left_to_boto3(
    s3: VerifyingS3, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.head("b", "k")  # makes the client
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for key in "kl":
        storage.put_bytes(DATA, "b", key, "image/jpeg")
    assert OURS not in agents(s3)


def test_credentials_that_expire_are_renewed(s3: VerifyingS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """By botocore's own chain, here the one of containers; the address of instances is never asked."""
    numbers = count(1)

    def credentials(*_: object) -> Answer:
        number = next(numbers)
        s3.secrets = {f"key{number}": (f"secret{number}", f"token{number}")}  # S3 takes no older ones
        soon = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
        keys = {"AccessKeyId": f"key{number}", "SecretAccessKey": f"secret{number}", "Token": f"token{number}"}
        return Answer(200, json.dumps({**keys, "Expiration": soon}).encode(), {"Content-Type": "application/json"})

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    aws._session.cache_clear()
    try:
        with serving(credentials) as url:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/credentials")
            with storage_of(s3, aws_access_key_id=None, aws_secret_access_key=None) as storage:
                for number in range(4):
                    storage.put_bytes(DATA, "b", f"{number}", "image/jpeg")
    finally:
        aws._session.cache_clear()
    assert {each.status for each in s3.answered} == {200}
    assert len({each.key_id for each in s3.asked}) > 2
    assert agents(s3)[1:] == [OURS] * 3


def test_a_wrong_secret_is_refused_and_not_shown(s3: VerifyingS3) -> None:
    """What S3 says about a signature may hold more than one wants to read."""
    with storage_of(s3, aws_secret_access_key="a-wrong-secret") as storage, pytest.raises(PermanentError) as caught:
        storage.put_bytes(DATA, "b", "k", "image/jp2")
    assert caught.value.code == "storage_refused"
    assert caught.value.cause == "Storing b/k: SignatureDoesNotMatch"
