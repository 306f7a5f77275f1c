from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.content_encoding import CHUNK_BYTES
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.transfer import HEAD_BYTES, Fetched
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.origin import Origin, OriginStrategy
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets_tests.clients.conftest import Aws
from dlcs_testing.scripted_server import Answer, ScriptedServer, refused_url, scripted_server

IMAGE = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(IMAGE).hexdigest()


def origins(s3: S3ClientFactory | None = None, **options: Any) -> Origins:
    defaults: dict[str, Any] = {
        "first_delay_seconds": 0.001,
        "timeout_seconds": 5.0,
        "private_networks": ["127.0.0.0/8"],
    }
    return Origins(s3=s3 or S3ClientFactory(), **(defaults | options))


def http(url: str) -> Origin:
    return Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=None)


def fetch(origin: Origin, folder: Path, s3: S3ClientFactory | None = None, **options: Any) -> Fetched:
    client = origins(s3, **options)
    try:
        return client.fetch(origin, folder / "original")
    finally:
        client.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    headers = (("Content-Type", "image/tiff"), ("ETag", '"v1"'))
    with scripted_server(Answer(200, IMAGE, headers)) as script:
        yield script


def test_an_original_is_stored_with_its_size_type_and_checksum(server: ScriptedServer, tmp_path: Path) -> None:
    fetched = fetch(http(f"{server.url}/page-1.tif"), tmp_path)
    assert fetched.path == tmp_path / "original"
    assert fetched.path.read_bytes() == IMAGE
    assert (fetched.bytes, fetched.sha256) == (len(IMAGE), SHA256)
    assert (fetched.content_type, fetched.version) == ("image/tiff", "v1")
    headers = server.asked[0].headers
    assert (headers["user-agent"], headers["accept"], headers["accept-encoding"]) == ("DLCS/2.0", "*/*", "identity")


@pytest.mark.parametrize(
    ("answer", "kind", "code", "times"),
    [
        (Answer(404), PermanentError, "origin_not_found", 1),
        (Answer(410), PermanentError, "origin_not_found", 1),
        (Answer(401), PermanentError, "origin_refused", 1),
        (Answer(403), PermanentError, "origin_refused", 1),
        (Answer(400), PermanentError, "origin_refused", 1),
        (Answer(200, b""), PermanentError, "origin_empty", 1),
        (Answer(204), PermanentError, "origin_empty", 1),
        (Answer(200, IMAGE, (("Content-Length", "9999999999999"),)), PermanentError, "origin_too_large", 1),
        (Answer(302, b"", (("Location", "ftp://127.0.0.1/x"),)), PermanentError, "origin_address_invalid", 1),
        (Answer(500), TransientError, "origin_unavailable", 2),
        (Answer(503), TransientError, "origin_unavailable", 2),
        (Answer(429), TransientError, "origin_unavailable", 2),
        (Answer(fault="reset"), TransientError, "origin_broke_off", 2),
        (Answer(fault="hang"), TransientError, "origin_timeout", 2),
        (Answer(200, IMAGE, fault="break off"), TransientError, "origin_broke_off", 2),
        (Answer(200, IMAGE, (("Content-Length", str(len(IMAGE) + 9)),), "break off"), TransientError,
         "origin_broke_off", 2),
        (Answer(200, IMAGE, (("Content-Length", "-1"),)), TransientError, "origin_broke_off", 2),
        (Answer(200, b"no gzip", (("Content-Encoding", "gzip"),)), TransientError, "origin_broke_off", 2),
    ],
)  # fmt: skip
def test_each_failure_has_its_code_and_leaves_no_file(
    answer: Answer, kind: type[IngestError], code: str, times: int, tmp_path: Path
) -> None:
    with scripted_server(answer) as server:
        with pytest.raises(IngestError) as caught:
            fetch(http(server.url), tmp_path, attempts=2, timeout_seconds=0.3, max_bytes=10**6)
        assert type(caught.value) is kind
        assert caught.value.code == code
        assert len(server.asked) == times
        assert list(tmp_path.iterdir()) == []


def test_a_second_attempt_begins_a_new_file(tmp_path: Path) -> None:
    with scripted_server(Answer(200, IMAGE[::-1], fault="break off"), Answer(200, IMAGE)) as server:
        fetched = fetch(http(server.url), tmp_path)
        assert (fetched.bytes, fetched.sha256) == (len(IMAGE), SHA256)
        assert fetched.path.read_bytes() == IMAGE


CHUNKED = (("Transfer-Encoding", "chunked"),)


def in_chunks(data: bytes) -> bytes:
    parts = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_an_original_of_unknown_length_is_fetched(tmp_path: Path) -> None:
    with scripted_server(Answer(200, in_chunks(IMAGE), CHUNKED)) as server:
        assert fetch(http(server.url), tmp_path).sha256 == SHA256


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, in_chunks(IMAGE), CHUNKED),
        Answer(200, gzip.compress(b"\0" * 10**6), (("Content-Encoding", "gzip"),)),
    ],
)
def test_a_download_is_stopped_at_the_size_limit(answer: Answer, tmp_path: Path) -> None:
    """Chunked or compressed, its length is not announced: the disk must not fill up, and no file stays."""
    with scripted_server(answer) as server:
        with pytest.raises(PermanentError) as caught:
            fetch(http(server.url), tmp_path, max_bytes=50_000)
        assert caught.value.code == "origin_too_large"
        assert list(tmp_path.iterdir()) == []


def test_a_body_compressed_without_being_asked_for_is_unpacked(tmp_path: Path) -> None:
    with scripted_server(Answer(200, gzip.compress(IMAGE), (("Content-Encoding", "gzip"),))) as server:
        fetched = fetch(http(server.url), tmp_path)
        assert (fetched.bytes, fetched.sha256) == (len(IMAGE), SHA256)


FORMAL = ["aws-chunked", "none", "utf-8", "UTF-8", "identity, aws-chunked", "binary"]
GZIPPED = ["gzip", "x-gzip", "aws-chunked,gzip", "GZIP, aws-chunked"]


@pytest.mark.parametrize("encoding", [*FORMAL, *GZIPPED])
@pytest.mark.parametrize("over", ["http", "s3"])
def test_content_encodings_mean_the_same_over_http_and_s3(over: str, encoding: str, tmp_path: Path) -> None:
    """Words that say nothing of the bytes are ignored, gzip is unpacked: by a fetch and by a peek."""
    packed = encoding in GZIPPED
    body = gzip.compress(IMAGE) if packed else IMAGE
    with scripted_server(Answer(200, body, (("Content-Encoding", encoding), ("ETag", '"v1"')))) as server:
        origin = http(server.url) if over == "http" else s3_origin("b", "k")
        fetched = fetch(origin, tmp_path, s3_at(server.url))
        assert (fetched.bytes, fetched.sha256) == (len(IMAGE), SHA256)
        client = origins(s3_at(server.url))
        peeked = client.peek(origin, limit=1000)
        client.close()
        assert (peeked.head, peeked.packed) == (IMAGE[:1000], packed)
        assert peeked.size == (None if packed else len(IMAGE))


@pytest.mark.parametrize("over", ["http", "s3"])
@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("br", IMAGE, "origin_encoding_not_supported"),
        ("gzip, gzip", gzip.compress(gzip.compress(IMAGE)), "origin_encoding_not_supported"),
        ("gzip", IMAGE, "origin_broke_off"),
        ("gzip", gzip.compress(IMAGE)[:-9], "origin_broke_off"),
        ("gzip", gzip.compress(bytes(10**7)), "origin_too_large"),
        ("gzip", gzip.compress(b"", mtime=0), "origin_empty"),
    ],
    ids=["br", "twice", "not gzip", "cut off", "bomb", "empty"],
)
def test_content_encodings_fail_alike_over_http_and_s3(
    over: str, encoding: str, body: bytes, code: str, tmp_path: Path
) -> None:
    with scripted_server(Answer(200, body, (("Content-Encoding", encoding), ("ETag", '"v1"')))) as server:
        origin = http(server.url) if over == "http" else s3_origin("b", "k")
        with pytest.raises(IngestError) as caught:
            fetch(origin, tmp_path, s3_at(server.url), max_bytes=10**6)
        assert caught.value.code == code
        assert "packed as" in caught.value.cause or code != "origin_encoding_not_supported"
        assert list(tmp_path.iterdir()) == []


def test_eight_redirects_are_followed_and_no_more(tmp_path: Path) -> None:
    with scripted_server(Answer(200, IMAGE)) as server:
        for step in range(9):
            server.by_path[f"/{step}"] = Answer(302, b"", (("Location", f"/{step + 1}"),))
        assert fetch(http(f"{server.url}/1"), tmp_path).sha256 == SHA256
        with pytest.raises(PermanentError) as caught:
            fetch(http(f"{server.url}/0"), tmp_path)
        assert caught.value.code == "origin_redirects"


def test_cookies_of_one_request_are_not_sent_with_the_next(tmp_path: Path) -> None:
    """A cookie that an origin set for one customer must not be sent for another."""
    with scripted_server(Answer(200, IMAGE, (("Set-Cookie", "customer=2"),))) as server:
        client = origins()
        for _ in range(2):
            client.fetch(http(server.url), tmp_path / "original")
        client.close()
        assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


def redirect(to: str, *cookies: str) -> Answer:
    return Answer(302, b"", (("Location", to), *(("Set-Cookie", cookie) for cookie in cookies)))


def cookies_of(server: ScriptedServer) -> dict[str, str | None]:
    return {asked.path: asked.headers.get("cookie") for asked in server.asked}


def test_a_cookie_of_a_redirect_is_kept_for_that_fetch_only(tmp_path: Path) -> None:
    """Login pages of repositories redirect back with a session, without which they redirect again."""
    with scripted_server(Answer(200, IMAGE)) as server:
        server.by_path["/page"] = redirect("/a/login", "session=1; HttpOnly; Expires=Wed, 99 Foo", "gone=1; Max-Age=0")
        server.by_path["/a/login"] = redirect("/a/image", "deep=2; Path=/a/", "far=3; Path=/b", "tls=4; Secure")
        server.by_path["/a/image"] = redirect("/image")
        client = origins()
        for _ in range(2):
            client.fetch(http(f"{server.url}/page"), tmp_path / "original")
            kept = {"/page": None, "/a/login": "session=1", "/a/image": "deep=2; session=1", "/image": "session=1"}
            assert cookies_of(server) == kept
            server.asked.clear()
        client.close()


@pytest.mark.parametrize("domain", ["", "; Domain=127.0.0.1", "; Domain=localhost", "; Domain=.1"])
def test_a_cookie_is_not_sent_to_another_origin(domain: str, tmp_path: Path) -> None:
    """Neither to another host nor to another port of the same one."""
    with (
        scripted_server(Answer(200, IMAGE)) as other,
        scripted_server(redirect(other.url, f"session=1{domain}")) as one,
    ):
        fetch(http(one.url), tmp_path)
        one.answers = [redirect(other.url.replace("127.0.0.1", "localhost"), f"session=1{domain}")]
        fetch(http(one.url), tmp_path)
        assert [asked.headers.get("cookie") for asked in other.asked] == [None, None]


@pytest.mark.parametrize("cookie", ["s=\u00e9", "=", "a=b; max-age", "a=b; domain", ";;", "a=" + "x" * 20_000])
def test_a_cookie_that_cannot_be_sent_is_left_out(cookie: str, tmp_path: Path) -> None:
    with scripted_server(Answer(200, IMAGE)) as server:
        server.by_path["/page"] = redirect("/image", cookie)
        assert fetch(http(f"{server.url}/page"), tmp_path).sha256 == SHA256
        assert cookies_of(server)["/image"] in {None, "a=b"}


def test_an_origin_that_does_not_answer_is_not_a_service_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        fetch(http(f"{refused_url()}/x?token=secret"), tmp_path, attempts=2)
    assert caught.value.code == "origin_unreachable"
    assert not isinstance(caught.value, ServiceDownError)
    assert "secret" not in str(caught.value)


def test_an_unknown_host_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        fetch(http("http://nowhere.invalid/x.jpg"), tmp_path, attempts=1)
    assert caught.value.code == "origin_unreachable"


def test_an_invalid_address_is_permanent(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        fetch(http("http://user:secret@host:port/x"), tmp_path)
    assert caught.value.code == "origin_address_invalid"
    assert "secret" not in str(caught.value)


def test_a_trickle_ends_with_the_time_limit(tmp_path: Path) -> None:
    """Each packet comes in time, the whole never would."""
    with scripted_server(Answer(200, IMAGE)) as server:
        with pytest.raises(TransientError) as caught:
            fetch(http(server.url), tmp_path, attempts=1, timeout_seconds=1e-6, read_timeout_seconds=5)
        assert caught.value.code == "origin_timeout"


def test_a_scratch_folder_that_cannot_be_written_is_reported(server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(TransientError) as caught:
        fetch(http(server.url), tmp_path / "missing", attempts=1)
    assert caught.value.code == "scratch_not_writable"


def test_a_peek_reads_no_more_than_the_head() -> None:
    partial = Answer(
        206,
        IMAGE[:100],
        (("Content-Range", f"bytes 0-99/{len(IMAGE)}"), ("Content-Type", "image/jp2"), ("ETag", '"e"')),
    )
    with scripted_server(partial) as server:
        client = origins()
        peeked = client.peek(http(server.url), limit=100)
        client.close()
        assert (peeked.head, peeked.size) == (IMAGE[:100], len(IMAGE))
        assert (peeked.content_type, peeked.version) == ("image/jp2", "e")
        assert server.asked[0].headers["range"] == "bytes=0-99"


def test_an_original_is_fetched_if_its_first_bytes_are_wanted(server: ScriptedServer, tmp_path: Path) -> None:
    client = origins()
    heads: list[bytes] = []

    def wants(head: bytes) -> bool:
        heads.append(head)
        return len(heads) > 1

    assert client.fetch_if(http(server.url), tmp_path / "a", wants) is None
    assert list(tmp_path.iterdir()) == []
    fetched = client.fetch_if(http(server.url), tmp_path / "a", wants)
    client.close()
    assert fetched is not None
    assert (fetched.bytes, fetched.sha256, (tmp_path / "a").read_bytes()) == (len(IMAGE), SHA256, IMAGE)
    assert heads == [IMAGE[:HEAD_BYTES]] * 2
    assert len(server.asked) == 2


def test_an_original_too_large_to_be_fetched_may_be_unwanted(server: ScriptedServer, tmp_path: Path) -> None:
    """A film that stays in its bucket has no limit of bytes."""
    client = origins(max_bytes=100)
    assert client.fetch_if(http(server.url), tmp_path / "a", lambda _: True) is None
    client.close()
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_off_in_its_first_bytes_is_judged_again(tmp_path: Path) -> None:
    """The decision is about the first bytes of one answer, and what was wanted continues where it broke off."""
    image, written = IMAGE * 3, 2 * CHUNK_BYTES
    whole = (("Content-Length", str(len(image))), ("ETag", '"e"'))
    rest = (("Content-Range", f"bytes {written}-{len(image) - 1}/{len(image)}"), ("ETag", '"e"'))
    broken = [Answer(200, image[:length], whole) for length in (9, 600_000)]
    heads: list[bytes] = []

    def wants(head: bytes) -> bool:
        heads.append(head)
        return True

    with scripted_server(*broken, Answer(206, image[written:], rest)) as server:
        client = origins(attempts=3)
        fetched = client.fetch_if(http(server.url), tmp_path / "a", wants)
        client.close()
        ranges = [each.headers.get("range") for each in server.asked]
    assert fetched is not None
    assert fetched.sha256 == hashlib.sha256(image).hexdigest()
    assert heads == [image[:HEAD_BYTES]]
    assert ranges == [None, None, f"bytes={written}-"]


def test_a_size_that_is_not_announced_is_unknown() -> None:
    partial = Answer(206, IMAGE[:100], (("Content-Range", "bytes 0-99/*"),))
    with scripted_server(partial, Answer(200, in_chunks(IMAGE), CHUNKED)) as server:
        client = origins()
        assert [client.peek(http(server.url), limit=100).size for _ in range(2)] == [None, None]
        client.close()


def test_a_server_without_ranges_is_not_read_to_the_end(server: ScriptedServer) -> None:
    client = origins()
    peeked = client.peek(http(server.url), limit=100)
    client.close()
    assert (peeked.head, peeked.size, peeked.version) == (IMAGE[:100], len(IMAGE), "v1")


@pytest.mark.parametrize("answer", [Answer(416), Answer(200)])
def test_a_peek_at_an_empty_original_says_so(answer: Answer) -> None:
    with scripted_server(answer) as server:
        client = origins()
        with pytest.raises(PermanentError) as caught:
            client.peek(http(server.url))
        client.close()
        assert caught.value.code == "origin_empty"


def test_a_peek_at_nothing_says_so() -> None:
    with scripted_server(Answer(404)) as server:
        client = origins()
        with pytest.raises(PermanentError) as caught:
            client.peek(http(server.url))
        client.close()
        assert caught.value.code == "origin_not_found"


def s3_origin(bucket: str, key: str) -> Origin:
    return Origin(f"s3://{bucket}/{key}", OriginStrategy.S3_AMBIENT, S3Location(bucket, key), optimised=True, note=None)


KEY = "pages/a b%20+é?#.tif"


@pytest.fixture
def stored(aws: Aws, bucket: str) -> Origin:
    client = aws.s3().get_client()
    client.put_object(Bucket=bucket, Key=KEY, Body=IMAGE, ContentType="image/tiff")
    client.put_object(Bucket=bucket, Key="empty", Body=b"")
    client.close()
    return s3_origin(bucket, KEY)


def test_an_object_is_fetched_with_our_own_credentials(aws: Aws, stored: Origin, tmp_path: Path) -> None:
    fetched = fetch(stored, tmp_path, aws.s3())
    assert fetched.path.read_bytes() == IMAGE
    assert (fetched.bytes, fetched.sha256, fetched.content_type) == (len(IMAGE), SHA256, "image/tiff")
    assert fetched.version == hashlib.md5(IMAGE).hexdigest()


def test_the_version_of_an_object_is_its_version_id_if_any(
    aws: Aws, bucket: str, stored: Origin, tmp_path: Path
) -> None:
    """In a versioned bucket the ETag may be the same for two versions."""
    client = aws.s3().get_client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket=bucket, Key=KEY, Body=b"II*\0")["VersionId"]
    client.close()
    assert fetch(stored, tmp_path, aws.s3()).version == version


def test_a_peek_at_an_object_reads_its_head(aws: Aws, stored: Origin) -> None:
    client = origins(aws.s3())
    peeked = client.peek(stored, limit=10)
    client.close()
    assert (peeked.head, peeked.size, peeked.content_type) == (IMAGE[:10], len(IMAGE), "image/tiff")
    assert peeked.version == hashlib.md5(IMAGE).hexdigest()


def test_an_object_stored_with_gzip_is_unpacked(aws: Aws, bucket: str, tmp_path: Path) -> None:
    client = aws.s3().get_client()
    client.put_object(Bucket=bucket, Key=KEY, Body=gzip.compress(IMAGE), ContentEncoding="gzip")
    client.close()
    assert fetch(s3_origin(bucket, KEY), tmp_path, aws.s3()).sha256 == SHA256


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_not_called_absent_or_denied(
    aws: Aws, bucket: str, storage_class: Any, tmp_path: Path
) -> None:
    client = aws.s3().get_client()
    client.put_object(Bucket=bucket, Key=KEY, Body=IMAGE, StorageClass=storage_class)
    client.close()
    with pytest.raises(PermanentError) as caught:
        fetch(s3_origin(bucket, KEY), tmp_path, aws.s3())
    assert caught.value.code == "origin_archived"
    assert "retry --reason origin_archived" in caught.value.remedy
    reader = origins(aws.s3())
    with pytest.raises(PermanentError) as caught:
        reader.peek(s3_origin(bucket, KEY))
    reader.close()
    assert caught.value.code == "origin_archived"


@pytest.mark.parametrize(
    ("key", "code"), [("missing", "origin_not_found"), ("empty", "origin_empty"), (KEY, "origin_too_large")]
)
def test_an_object_that_is_not_there_or_not_fit_is_permanent(
    aws: Aws, stored: Origin, tmp_path: Path, key: str, code: str
) -> None:
    assert stored.location is not None
    with pytest.raises(PermanentError) as caught:
        fetch(s3_origin(stored.location.bucket, key), tmp_path, aws.s3(), max_bytes=1000)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "code"), [("missing", "origin_not_found"), ("empty", "origin_empty")])
def test_a_peek_at_an_object_that_is_not_there_or_empty_says_so(aws: Aws, stored: Origin, key: str, code: str) -> None:
    assert stored.location is not None
    client = origins(aws.s3())
    with pytest.raises(PermanentError) as caught:
        client.peek(s3_origin(stored.location.bucket, key))
    client.close()
    assert caught.value.code == code


def s3_at(url: str) -> S3ClientFactory:
    return S3ClientFactory(
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        max_attempts=1,
        read_timeout_seconds=0.3,
    )


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (
            Answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
            PermanentError,
            "origin_refused",
        ),
        (Answer(503, b"<Error><Code>SlowDown</Code></Error>"), TransientError, "origin_unavailable"),
        (Answer(400, b"<Error><Code>RequestTimeout</Code></Error>"), TransientError, "origin_unavailable"),
        (Answer(200, IMAGE, fault="break off"), TransientError, "origin_unavailable"),
        (Answer(fault="reset"), TransientError, "origin_unavailable"),
        (Answer(fault="hang"), TransientError, "origin_unavailable"),
    ],
)
def test_errors_of_s3_itself_have_codes_of_their_own(
    answer: Answer, kind: type[IngestError], code: str, tmp_path: Path
) -> None:
    with scripted_server(answer) as server:
        with pytest.raises(IngestError) as caught:
            fetch(s3_origin("b", "k"), tmp_path, s3_at(server.url), attempts=1)
        assert type(caught.value) is kind
        assert caught.value.code == code


def test_an_s3_that_is_down_is_a_service_down(tmp_path: Path) -> None:
    with pytest.raises(ServiceDownError):
        fetch(s3_origin("b", "k"), tmp_path, s3_at(refused_url()), attempts=1)
