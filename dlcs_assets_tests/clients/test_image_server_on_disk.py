"""An image server that shares a disk: what its identifiers are, and files that come late, not whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.image_server import ImageServer, ThumbnailBytes
from dlcs_assets.domain.errors import PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_testing.pictures import jpeg
from dlcs_testing.scripted_server import Answer, refused_url, scripted_server

PAGE = Size(1000, 2000)
PICTURE = Answer(200, jpeg(100, 200))
NOT_THERE = Answer(404)
LONG = 3600.0


@contextmanager
def image_server(url: str, **options: Any) -> Iterator[ImageServer]:
    client = ImageServer(url=url, first_delay_seconds=0.001, attempts=2, **options)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "original"
    file.write_bytes(jpeg(1000, 2000))
    return file


def ask(url: str, file: Path | None, *, late_files_seconds: float) -> tuple[Any, int]:
    """Return the answer, and how many were too early."""
    with image_server(url, late_files_seconds=late_files_seconds) as client:
        session = client.session(file)
        return session.thumbnail("request/original", "!200,200", "!200,200", PAGE), session.seen_late


@pytest.mark.parametrize(
    ("server_root", "identifier"),
    [
        (None, "/work/scratch/request/original"),
        ("/mnt/efs/dlcs/", "/mnt/efs/dlcs/request/original"),
        ("scratch", "scratch/request/original"),
        ("", "request/original"),
        ("/", "/request/original"),
    ],
)
def test_an_identifier_is_the_path_as_the_server_sees_it(server_root: str | None, identifier: str) -> None:
    server = ImageServer(scratch_root="/work/scratch", server_scratch_root=server_root)
    assert server.shares_disk
    assert server.identifier_of(Path("/work/scratch/request/original")) == identifier


def test_a_file_below_the_root_is_one_encoded_segment() -> None:
    url = ImageServer(url="http://images", scratch_root="/a b").request_url("/a b/50%;2/original", "info.json")
    assert url == "http://images/iiif/3/%2Fa%20b%2F50%25%3B2%2Foriginal/info.json?cache=recache"


@pytest.mark.parametrize(
    "early", [NOT_THERE, Answer(501, b"not whole"), Answer(500, b"Input buffer contains unsupported image format")]
)
def test_a_file_that_is_not_there_yet_or_not_whole_is_waited_for(file: Path, early: Answer) -> None:
    with scripted_server(early, early, early, PICTURE) as server:
        answer, seen_late = ask(server.url, file, late_files_seconds=LONG)
    assert isinstance(answer, ThumbnailBytes)
    assert seen_late == 3


def test_a_file_that_never_comes_is_a_disk_that_is_not_shared(file: Path) -> None:
    with scripted_server(NOT_THERE) as server, pytest.raises(TransientError) as caught:
        ask(server.url, file, late_files_seconds=0)
    assert caught.value.code == "image_server_disk_not_shared"
    assert "DLCS_IMAGE_SERVER_SCRATCH_ROOT" in caught.value.remedy
    assert len(server.asked) == 2


def test_a_file_that_the_server_may_not_read_has_the_same_code(file: Path) -> None:
    with scripted_server(Answer(403, b"File is not readable")) as server, pytest.raises(TransientError) as caught:
        ask(server.url, file, late_files_seconds=LONG)
    assert caught.value.code == "image_server_disk_not_shared"
    assert "File is not readable" in caught.value.cause


def test_a_file_that_we_do_not_have_either_is_missing(file: Path) -> None:
    file.unlink()
    with scripted_server(NOT_THERE) as server, pytest.raises(TransientError) as caught:
        ask(server.url, file, late_files_seconds=0)
    assert caught.value.code == "image_server_source_missing"


def test_what_is_in_s3_is_not_waited_for(file: Path) -> None:
    assert file.exists()
    with scripted_server(NOT_THERE) as server, pytest.raises(TransientError) as caught:
        ask(server.url, None, late_files_seconds=LONG)
    assert caught.value.code == "image_server_source_missing"
    assert len(server.asked) == 2


def test_a_source_that_stays_unreadable_fails_after_the_timeout(file: Path) -> None:
    """501 may mean that the file is not whole yet, but not indefinitely."""
    with scripted_server(Answer(501, b"Unsupported source format")) as server, pytest.raises(PermanentError) as caught:
        ask(server.url, file, late_files_seconds=0)
    assert caught.value.code == "source_unreadable"


@pytest.mark.parametrize("status", [400, 503, 429])
def test_a_server_that_refuses_an_invalid_size_passes_the_check(status: int) -> None:
    """One that is busy passes too: the check must not report a working image server as missing."""
    with scripted_server(Answer(status)) as server, image_server(server.url) as client:
        client.check()
        assert [asked.path for asked in server.asked] == ["/iiif/3/none/full/no-size/0/default.jpg"]


@pytest.mark.parametrize("status", [200, 204, 302, 401, 403, 404])
def test_a_web_server_that_is_not_an_image_server_is_reported(status: int) -> None:
    page = b"" if status == HTTPStatus.NO_CONTENT else b"<html>"
    with scripted_server(Answer(status, page)) as server, image_server(server.url) as client:
        with pytest.raises(TransientError) as caught:
            client.check()
        assert caught.value.code == "image_server_wrong_address"
        assert f"{server.url}/iiif/3/ is no image server: it answered {status}" in caught.value.cause


def test_where_nothing_answers_the_server_is_down() -> None:
    with image_server(refused_url()) as client, pytest.raises(ServiceDownError):
        client.check()
