"""The bench's S3 does what moto's does, as far as ingest asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.instant import Instant
from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_testing.http_serving import serving


@pytest.fixture(params=["bench", "moto"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "bench":
        with serving(Instant(tmp_path / "none.jp2", (1, 1)).answer) as url:
            yield stored_at(url)
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    storage = stored_at(f"http://{host}:{port}")
    storage.s3.get_client().create_bucket(Bucket="pages")
    yield storage
    server.stop()


def stored_at(url: str) -> Storage:
    keys: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return Storage(s3=S3ClientFactory(endpoint_url=url, **keys))


def test_objects_are_put_read_listed_and_deleted(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "page.jp2"
    file.write_bytes(b"\x00\xffpage" * 1000)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    put = storage.put_file(file, "pages", "2/1/a page", "image/jp2", sha256)
    assert (put.bytes, put.sha256, put.content_type) == (6000, sha256, "image/jp2")
    assert storage.head("pages", "2/1/a page") == put
    storage.put_bytes(b"{}", "pages", "2/1/a page/s.json", "application/json")
    storage.put_bytes(b"{}", "pages", "2/2/other", "application/json")
    assert storage.list_keys("pages", "2/1/") == ["2/1/a page", "2/1/a page/s.json"]
    assert storage.read_bytes("pages", "2/1/a page/s.json") == b"{}"
    fetched = tmp_path / "fetched"
    assert storage.download("pages", "2/1/a page", fetched).sha256 == sha256
    assert fetched.read_bytes() == file.read_bytes()
    storage.delete("pages", ["2/1/a page", "2/1/none"])
    assert storage.list_keys("pages", "2/") == ["2/1/a page/s.json", "2/2/other"]


def test_bytes_that_are_not_those_of_their_checksum_are_refused(tmp_path: Path) -> None:
    """S3 compares them, and says so; moto does neither."""
    file = tmp_path / "page.jp2"
    file.write_bytes(b"page")
    with serving(Instant(tmp_path / "none.jp2", (1, 1)).answer) as url:
        storage = stored_at(url)
        storage.put_file(file, "pages", "1", "image/jp2", hashlib.sha256(b"page").hexdigest())
        with pytest.raises(IngestError, match="BadDigest"):
            storage.put_file(file, "pages", "2", "image/jp2", hashlib.sha256(b"other").hexdigest())
        assert storage.list_keys("pages", "") == ["1"]


def test_objects_are_listed_by_the_page(storage: Storage) -> None:
    for name in ("a", "b", "b/1", "c"):
        storage.put_bytes(name.encode(), "pages", f"3/1/{name}", "application/json")
    first = storage.list_page("pages", "3/1/", limit=2)
    assert [each.key for each in first.objects] == ["3/1/a", "3/1/b"]
    assert not first.is_last
    last = storage.list_page("pages", "3/1/", after="3/1/b", limit=2)
    assert [(each.key, each.etag) for each in last.objects] == [
        (f"3/1/{name}", hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()) for name in ("b/1", "c")
    ]
    assert last.is_last


def test_a_missing_object_is_reported_as_missing(storage: Storage) -> None:
    assert storage.head("pages", "none") is None
    assert storage.list_keys("pages", "none/") == []
    with pytest.raises(PermanentError) as raised:
        storage.read_bytes("pages", "none")
    assert raised.value.code == "storage_not_found"
