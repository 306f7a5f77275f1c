"""Objects are stored as they are, or not at all: against an S3 that compares checksums and signatures itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_testing.verifying_s3 import VerifyingS3, verifying_s3

DATA = b"some bytes of a JP2"
SHA256 = hashlib.sha256(DATA).hexdigest()
KEYS = ["2/1/foo", "2/1/50% off+é ?x#&<y>'(z)~", "2/1/日本/..", "2/1/a//b", "/leading", "2/1/x/", "2/1/.%2F"]


@pytest.fixture
def s3() -> Iterator[VerifyingS3]:
    with verifying_s3("b") as s3:
        yield s3


@pytest.fixture
def storage(s3: VerifyingS3) -> Iterator[Storage]:
    with storage_of(s3) as storage:
        yield storage


def storage_of(s3: VerifyingS3, *, secret: str = "test") -> Storage:
    factory = S3ClientFactory(
        endpoint_url=s3.url,
        region_name="eu-west-1",
        max_attempts=2,
        read_timeout_seconds=5.0,
        aws_access_key_id="test",
        aws_secret_access_key=secret,
    )
    return Storage(s3=factory, attempts=2, first_delay_seconds=0.001)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.jp2"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("key", KEYS)
def test_any_key_is_signed_right(s3: VerifyingS3, storage: Storage, file: Path, key: str) -> None:
    storage.put_file(file, "b", key, "image/jp2", SHA256)
    assert s3.buckets["b"].keys() == {key}
    storage.put_bytes(DATA, "b", key, "image/jp2")
    assert s3.buckets["b"][key].data == DATA
    assert {each.status for each in s3.answered} == {200}


def test_an_object_is_stored_with_type_and_checksum(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    """As the DLCS's readers, the fixity audit and a rebuild of the ledger rely on it."""
    storage.put_file(file, "b", "file", "image/jp2", SHA256)
    storage.put_bytes(DATA, "b", "bytes", "application/json")
    for key, content_type in (("file", "image/jp2"), ("bytes", "application/json")):
        headers = dict(s3.buckets["b"][key].headers)
        assert headers.pop("content-type") == content_type
        assert headers.pop("x-amz-meta-sha256") == SHA256
        assert base64.b64decode(headers.pop("x-amz-checksum-sha256")).hex() == SHA256
        assert headers == {}
    assert {each.headers["x-amz-sdk-checksum-algorithm"] for each in s3.asked} == {"SHA256"}  # moto goes by it


def test_a_verified_upload_is_one_request(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    stored = storage.put_file(file, "b", "k", "image/jp2", SHA256)
    assert s3.methods == {"PUT": 1}
    assert stored == storage.head("b", "k")


def test_an_upload_that_is_not_verified_is_looked_at(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    """Some stores with S3's protocol compare nothing: they do not return a checksum."""
    s3.checks_sums = s3.repeats_sums = False
    storage.put_file(file, "b", "k", "image/jp2", SHA256)
    assert s3.methods == {"PUT": 1, "HEAD": 1}
    s3.damage = lambda body: body[:5]
    with pytest.raises(TransientError) as caught:
        storage.put_file(file, "b", "k", "image/jp2", SHA256)
    assert caught.value.code == "storage_incomplete"


def test_a_file_that_changed_since_it_was_hashed_is_refused(s3: VerifyingS3, storage: Storage, file: Path) -> None:
    file.write_bytes(DATA.upper())
    with pytest.raises(TransientError) as caught:
        storage.put_file(file, "b", "k", "image/jp2", SHA256)
    assert caught.value.code == "storage_unavailable"
    assert s3.buckets["b"] == {}


def test_bytes_that_are_damaged_on_their_way_are_refused(s3: VerifyingS3, storage: Storage) -> None:
    s3.damage = lambda body: body.replace(b"J", b"j")
    with pytest.raises(TransientError):
        storage.put_bytes(DATA, "b", "k", "image/jp2")
    assert s3.buckets["b"] == {}


def test_a_wrong_secret_is_refused_and_not_shown(s3: VerifyingS3) -> None:
    """What S3 says about a signature may hold more than one wants to read."""
    with storage_of(s3, secret="a-wrong-secret") as storage, pytest.raises(PermanentError) as caught:
        storage.put_bytes(DATA, "b", "k", "image/jp2")
    assert caught.value.code == "storage_refused"
    assert caught.value.cause == "Storing b/k: SignatureDoesNotMatch"
