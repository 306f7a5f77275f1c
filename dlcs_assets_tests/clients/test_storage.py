from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dlcs_assets.clients import storage as storage_module
from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Digest, Storage
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

DATA = b"some bytes of a JP2"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def storage(aws: Aws) -> Iterator[Storage]:
    resource = Storage(s3=aws.s3(), first_delay_seconds=0.001)
    yield resource
    resource.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.jp2"
    path.write_bytes(DATA)
    return path


def storage_at(url: str, **options: float) -> Storage:
    s3 = S3ClientFactory(
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        max_attempts=1,
        read_timeout_seconds=0.3,
    )
    return Storage(s3=s3, attempts=2, first_delay_seconds=0.001, **options)  # type: ignore[arg-type]  # numbers


@pytest.mark.parametrize(
    "key", ["2/1/foo", "2/1/foo/original", "2/1/50% off+é ?x#&<y>'(z)~", "2/1/日本/..", "2/1/a//b"]
)
def test_a_file_is_stored_whole_under_any_key(storage: Storage, bucket: str, file: Path, key: str) -> None:
    stored = storage.put_file(file, bucket, key, "image/jp2", SHA256)
    assert (stored.bucket, stored.key, stored.bytes, stored.sha256) == (bucket, key, len(DATA), SHA256)
    assert stored.content_type == "image/jp2"
    assert storage.read_bytes(bucket, key) == DATA
    assert storage.list_keys(bucket, "2/1/") == [key]
    assert storage.head(bucket, key) == stored
    storage.delete(bucket, [key])
    assert storage.list_keys(bucket, "") == []


def test_a_big_file_is_sent_in_parts_and_keeps_its_checksum(
    storage: Storage, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "_PART_BYTES", 5 * 2**20)
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 45_000)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    stored = storage.put_file(path, bucket, "big", "image/jp2", sha256)
    assert stored.etag.endswith("-3")
    assert (stored.bytes, stored.sha256, stored.content_type) == (11_520_000, sha256, "image/jp2")
    assert storage.digest(bucket, "big") == Digest(11_520_000, sha256)


def test_s3_has_a_checksum_of_a_whole_file_sent_in_parts(
    storage: Storage, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum of checksums could not be compared with that of the file by the fixity audit."""
    monkeypatch.setattr(storage_module, "_PART_BYTES", 5 * 2**20)
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 45_000)
    storage.put_file(path, bucket, "big", "image/jp2", SHA256)
    found = storage.s3.get_client().head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert found["ChecksumType"] == "FULL_OBJECT"
    assert int.from_bytes(base64.b64decode(found["ChecksumCRC32"])) == zlib.crc32(path.read_bytes())


def test_the_last_request_of_an_upload_in_parts_has_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 then refuses to put together anything else."""
    monkeypatch.setattr(storage_module, "_PART_BYTES", 5 * 2**20)
    path = tmp_path / "big"
    path.write_bytes(bytes(6 * 2**20))
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    part = Answer(200, headers=(("ETag", '"e"'),))
    refused = Answer(400, b"<Error><Code>BadDigest</Code></Error>")
    with scripted_server(Answer(200, begun), part, part, refused, Answer(204)) as server:
        storage = storage_at(server.url)
        with pytest.raises(IngestError):
            storage.put_file(path, "b", "k", "image/jp2", SHA256)
        storage.close()
        (completed,) = [asked for asked in server.asked if asked.method == "POST" and "uploadId=u" in asked.path]
    assert completed.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert int.from_bytes(base64.b64decode(completed.headers["x-amz-checksum-crc32"])) == zlib.crc32(bytes(6 * 2**20))


def test_a_missing_object_has_no_digest(storage: Storage, bucket: str) -> None:
    assert storage.digest(bucket, "nothing") is None


def test_bytes_are_stored_with_their_checksum(storage: Storage, bucket: str) -> None:
    stored = storage.put_bytes(DATA, bucket, "2/1/foo/s.json", "application/json")
    assert stored == storage.head(bucket, "2/1/foo/s.json")
    assert stored.sha256 == SHA256


def test_the_checksum_goes_with_the_bytes_for_s3_to_compare(file: Path) -> None:
    """A file that changes during its upload is not published."""
    with scripted_server(Answer(400, b"<Error><Code>XAmzContentChecksumMismatch</Code></Error>")) as server:
        storage = storage_at(server.url)
        with pytest.raises(TransientError):
            storage.put_file(file, "b", "k", "image/jp2", SHA256)
        storage.close()
        assert base64.b64decode(server.asked[0].headers["x-amz-checksum-sha256"]).hex() == SHA256


def test_a_missing_object_is_none(storage: Storage, bucket: str) -> None:
    assert storage.head(bucket, "missing") is None


def test_an_object_of_others_has_no_checksum_of_ours(storage: Storage, aws: Aws, bucket: str) -> None:
    client = aws.s3().get_client()
    client.put_object(Bucket=bucket, Key="theirs", Body=b"x", Metadata={"title": "x"})
    client.close()
    found = storage.head(bucket, "theirs")
    assert found is not None
    assert (found.bytes, found.sha256) == (1, None)


def test_an_object_is_downloaded_to_disk(storage: Storage, bucket: str, file: Path, tmp_path: Path) -> None:
    storage.put_file(file, bucket, "k", "image/jp2", SHA256)
    fetched = storage.download(bucket, "k", tmp_path / "copy")
    assert fetched.path.read_bytes() == DATA
    assert (fetched.bytes, fetched.sha256, fetched.content_type) == (len(DATA), SHA256, "image/jp2")


def test_an_interrupted_download_starts_again(tmp_path: Path) -> None:
    with scripted_server(Answer(200, DATA, fault="break off"), Answer(200, DATA)) as server:
        storage = storage_at(server.url)
        assert storage.download("b", "k", tmp_path / "copy").sha256 == SHA256
        storage.close()


def test_reading_what_is_not_there_is_permanent(storage: Storage, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        storage.download(bucket, "missing", tmp_path / "copy")
    assert caught.value.code == "storage_not_found"
    with pytest.raises(PermanentError) as caught:
        storage.read_bytes(bucket, "missing")
    assert caught.value.code == "storage_not_found"


def test_long_lists_are_read_to_the_end(storage: Storage, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"2/1/foo/{number}" for number in range(5)]
    for key in [*keys, "2/1/foobar"]:
        storage.put_bytes(b"", bucket, key, "text/plain")
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")  # instead of S3's thousand, read at each request
    assert storage.list_keys(bucket, "2/1/foo/") == keys


def test_long_lists_are_deleted_to_the_end() -> None:
    """S3 takes a thousand keys at a time."""
    with scripted_server(Answer(200, b"<DeleteResult/>")) as server:
        storage = storage_at(server.url)
        storage.delete("b", (str(number) for number in range(2001)))
        storage.close()
        assert [asked.body.count(b"<Key>") for asked in server.asked] == [1000, 1000, 1]


def test_deleting_nothing_or_a_missing_object_is_not_an_error(storage: Storage, bucket: str) -> None:
    """A deletion that is repeated after a crash must not fail, nor delete anything else."""
    storage.put_bytes(b"kept", bucket, "kept", "image/jpeg")
    storage.delete(bucket, [])
    storage.delete(bucket, ["missing"])
    assert storage.head(bucket, "kept") is not None


def test_what_s3_does_not_delete_is_reported() -> None:
    body = b"<DeleteResult><Error><Key>a</Key><Code>InternalError</Code><Message>No</Message></Error></DeleteResult>"
    with scripted_server(Answer(200, body)) as server:
        storage = storage_at(server.url)
        with pytest.raises(TransientError) as caught:
            storage.delete("b", ["a", "c"])
        storage.close()
        assert caught.value.code == "storage_not_deleted"
        assert "1 of 2" in caught.value.cause


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (Answer(403, b"<Error><Code>AccessDenied</Code></Error>"), PermanentError, "storage_refused"),
        (Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"), PermanentError, "storage_not_found"),
        (Answer(500, b"<Error><Code>InternalError</Code></Error>"), TransientError, "storage_unavailable"),
        (Answer(503, b"<Error><Code>SlowDown</Code></Error>"), TransientError, "storage_unavailable"),
        (Answer(fault="reset"), TransientError, "storage_unavailable"),
        (Answer(fault="hang"), TransientError, "storage_unavailable"),
    ],
)
def test_errors_of_s3_have_codes_of_their_own(answer: Answer, kind: type[IngestError], code: str) -> None:
    with scripted_server(answer) as server:
        storage = storage_at(server.url)
        with pytest.raises(IngestError) as caught:
            storage.put_bytes(DATA, "b", "k", "image/jpeg")
        storage.close()
        assert type(caught.value) is kind
        assert caught.value.code == code
        assert "b/k" in caught.value.cause


def test_a_storage_that_is_down_is_a_service_down() -> None:
    storage = storage_at(refused_url())
    with pytest.raises(ServiceDownError):
        storage.head("b", "k")
    storage.close()


def test_a_name_that_no_bucket_can_have_is_permanent() -> None:
    storage = storage_at(refused_url())
    with pytest.raises(PermanentError) as caught:
        storage.head("not a bucket!", "k")
    storage.close()
    assert caught.value.code == "storage_refused"


def test_an_upload_that_s3_does_not_have_whole_is_not_believed(file: Path) -> None:
    """The PUT succeeds, and the HEAD after it gives another length."""
    with scripted_server(Answer(200, b"", (("ETag", '"e"'),)), Answer(200, b"half", (("ETag", '"e"'),))) as server:
        storage = storage_at(server.url)
        with pytest.raises(TransientError) as caught:
            storage.put_file(file, "b", "k", "image/jp2", SHA256)
        storage.close()
        assert caught.value.code == "storage_incomplete"


def test_threads_share_one_client(storage: Storage, bucket: str) -> None:
    made = []

    class Counting(S3ClientFactory):
        def get_client(self) -> object:
            made.append(1)
            return super().get_client()

    counting = Storage(s3=Counting(**vars(storage.s3)))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: counting.put_bytes(DATA, bucket, f"{number}", "image/jpeg"), range(24)))
    counting.close()
    assert len(made) == 1
    assert len(storage.list_keys(bucket, "")) == 24
