"""Origins that mean harm, or are as broken as if they did, over real sockets: each ends in its own clear reason."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.origins import Origins
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.networks import parse_network
from dlcs_assets.domain.origin import Origin, OriginStrategy, OriginStrategyRule
from dlcs_assets_tests.clients.hostile_origins import (
    BOMB,
    CASES,
    IMAGE,
    LOOP,
    SHORT,
    Case,
    head,
    holds,
    length,
    packed,
    pours,
    redirects,
    says,
    trickles,
)
from dlcs_testing.raw_server import Behaviour, Talk, certificate, raw_server, tls_of

MAX_BYTES = 100_000
LOOPBACK = "127.0.0.0/8"
RULE = OriginStrategyRule("partner", OriginStrategy.BASIC_HTTP, lambda _: True, credentials="env:PARTNER")
BASIC = b"dXNlcjpodW50ZXIy"
SFTP_RULE = OriginStrategyRule(
    "scanner",
    OriginStrategy.SFTP,
    lambda _: True,
    credentials="env:PARTNER",
    known_hosts=("* ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJHlO+kuBXVzlt4TS1E/rkQXXxuIaaGl/vj9gDCYo6H2",),
)


class Looked(Origins):
    """Origins whose names are looked up in a list: each answer once, the last one ever after."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Answer from the list; what is not in it is asked of the system."""
        if host not in ANSWERS:
            return super().resolve(host, port)
        ASKED.append(host)
        answers = ANSWERS[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


ANSWERS: Final[dict[str, list[list[str]]]] = {}
ASKED: Final[list[str]] = []


@pytest.fixture(autouse=True)
def _no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    ANSWERS.clear()
    ASKED.clear()
    monkeypatch.setenv("PARTNER", json.dumps({"user": "user", "password": "hunter" + "2"}))


def origins(**options: Any) -> Looked:
    """Return a client with limits that are reached soon."""
    limits: dict[str, Any] = {
        "attempts": 1,
        "max_bytes": MAX_BYTES,
        "timeout_seconds": 20.0,
        "connect_timeout_seconds": 5.0,
        "read_timeout_seconds": 5.0,
        "rate_window_seconds": 0.1,
        "private_networks": [LOOPBACK],
        "first_delay_seconds": 0.0,
    }
    return Looked(s3=S3ClientFactory(), **(limits | options))


def plain(url: str, **more: Any) -> Origin:
    return Origin(url, OriginStrategy.DEFAULT, None, optimised=False, note=None, **more)


def locked(url: str) -> Origin:
    return Origin(url, OriginStrategy.BASIC_HTTP, None, optimised=False, note=None, rule=RULE)


def outcome(origin: Origin, folder: Path, **options: Any) -> str:
    """Return the code of the error that a download ends in, or `fetched`."""
    client = origins(**options)
    file = folder / "original"
    try:
        client.fetch(origin, file)
    except IngestError as error:
        assert not file.exists()
        check_words(error)
        return error.code
    finally:
        client.close()
    assert file.stat().st_size <= MAX_BYTES
    return "fetched"


def check_words(error: IngestError) -> None:
    """Check that an error is short and plain, says what to do, and shows no secret."""
    text = f"{error.cause} {error.remedy}"
    assert text.isprintable()
    assert len(text) < 1000
    assert "hunter" not in text
    assert error.remedy


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_each_misbehaving_origin_has_its_code_and_leaves_no_file(case: Case, tmp_path: Path) -> None:
    """Whatever an origin answers, the image fails for the right reason within its limits."""
    with raw_server(case.behave) as server:
        assert outcome(plain(f"{server.url}/page.tif?token=hunter2"), tmp_path, **(case.options or {})) == case.code


# Where they are


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "0.0.0.0", "localhost"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
        *(
            "127\u30020\u30020\u30021",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    ],
)
def test_no_request_is_sent_to_an_address_that_is_not_public(host: str, tmp_path: Path) -> None:
    with raw_server(says(head(length(1)), b"x")) as server:
        url = f"http://{host}:{server.port}/x"
        assert outcome(plain(url), tmp_path, private_networks=[]) == "origin_address_refused"
        assert server.heard == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:{port}/\0", "origin_address_invalid"),
        ("http://127.0.0.1:{port}/\r\nX-Injected: x", "origin_address_invalid"),
        ("http://127.0.0.1\r\nX-Injected: x:{port}/", "origin_address_invalid"),
        ("http:///etc/passwd", "origin_address_invalid"),
        ("http://:{port}/", "origin_address_invalid"),
        ("http://0177.0.0.1:{port}/", "origin_address_invalid"),
        ("http://127.0.0.1:0/", "origin_address_invalid"),
        ("http://127.0.0.1:99999/", "origin_address_invalid"),
        ("http://127.0.0.1:-{port}/", "origin_address_invalid"),
        ("http://127.0.0.1:{port}.example/", "origin_address_invalid"),
        ("http://\uff11\uff12\uff17.0.0.1:{port}/", "origin_address_invalid"),
        ("http://exa\u202emple:{port}/", "origin_address_invalid"),
        ("file:///etc/passwd", "origin_address_invalid"),
        ("gopher://127.0.0.1:{port}/_x", "origin_address_invalid"),
        (f"http://{'a' * 64}.example:{{port}}/", "origin_unreachable"),
        ("http://a..b:{port}/", "origin_unreachable"),
        ("http://127.0.0.1.:{port}/", "origin_unreachable"),
        ("http://nowhere.invalid:{port}/", "origin_unreachable"),
    ],
)
def test_an_invalid_address_is_reported_as_invalid(url: str, code: str, tmp_path: Path) -> None:
    with raw_server(says(head(length(1)), b"x")) as server:
        assert outcome(plain(url.replace("{port}", str(server.port))), tmp_path) == code
        assert server.heard == []


def good() -> Behaviour:
    return says(head(length(len(IMAGE))), IMAGE)


def fetched(client: Origins, origin: Origin, folder: Path) -> str:
    return client.fetch(origin, folder / "original").sha256


SHA256 = hashlib.sha256(IMAGE).hexdigest()


def test_the_address_that_was_checked_is_the_one_connected_to(tmp_path: Path) -> None:
    """Guards against a name that is public when it is checked, and private when it is connected to."""
    ANSWERS["rebinding.example"] = [["127.0.0.1"], ["10.0.0.1"]]
    client = origins()
    with raw_server(good()) as server:
        assert fetched(client, plain(f"http://rebinding.example:{server.port}/x"), tmp_path) == SHA256
        assert ASKED == ["rebinding.example"]
        assert f"Host: rebinding.example:{server.port}".encode() in server.heard[0]
    client.close()


def test_a_name_that_turns_private_is_refused_when_reconnecting(tmp_path: Path) -> None:
    """An earlier check of the same name must not count for a later connection."""
    ANSWERS["rebinding.example"] = [["127.0.0.1"], ["169.254.169.254"]]
    with raw_server(says(LOOP)) as server:
        assert outcome(plain(f"http://rebinding.example:{server.port}/x"), tmp_path) == "origin_address_refused"
        assert len(server.heard) == 1


def test_the_reason_names_host_address_and_remedy(tmp_path: Path) -> None:
    ANSWERS["intranet.example"] = [["10.1.2.3", "10.1.2.4"]]
    client = origins()
    with pytest.raises(IngestError) as caught:
        fetched(client, plain("http://user:hunter2@intranet.example/x?token=hunter2"), tmp_path)
    client.close()
    assert caught.value.cause == (
        "The origin http://intranet.example/x?… leads to 'intranet.example' at 10.1.2.3, which is not a public address"
    )
    assert "private_networks" in caught.value.remedy


def test_allowed_ones_of_several_addresses_are_tried_in_order(tmp_path: Path) -> None:
    """A private address is skipped, and one that does not answer does not end the attempt."""
    # Nothing listens at 127.0.0.9, and 10.0.0.1 must not be asked.
    ANSWERS["many.example"] = [["10.0.0.1", "127.0.0.9", "127.0.0.1"]]
    client = origins()
    with raw_server(good()) as server:
        assert fetched(client, plain(f"http://many.example:{server.port}/x"), tmp_path) == SHA256
    client.close()


def test_networks_of_a_customer_open_to_that_customer_only(tmp_path: Path) -> None:
    """Connections are kept for reuse: one that a customer may have must never serve another customer."""
    client = origins(private_networks=[])
    with raw_server(good()) as server:
        url = f"{server.url}/x"
        assert fetched(client, plain(url, private_networks=(parse_network(LOOPBACK),)), tmp_path) == SHA256
        with pytest.raises(IngestError) as caught:
            fetched(client, plain(url), tmp_path)
        assert caught.value.code == "origin_address_refused"
        assert len(server.heard) == 1
    client.close()


def test_proxies_and_passwords_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = origins()
    with raw_server(says(head(length(1), status="502 Proxy"), b"x")) as proxy, raw_server(good()) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert fetched(client, plain(f"{server.url}/x"), tmp_path) == SHA256
        assert proxy.heard == []
        assert b"authorization" not in server.heard[0].lower()
    client.close()


# Credentials


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.1:{other}/x", "http://localhost:{port}/x", "//localhost:{port}/x"]
)
def test_credentials_do_not_follow_to_another_port_or_host(elsewhere: str, tmp_path: Path) -> None:
    client = origins()
    with raw_server(good()) as other:

        def behave(talk: Talk) -> None:
            local = b"127.0.0.1" in talk.asked
            redirects(elsewhere.format(other=other.port, port=server.port))(talk) if local else good()(talk)

        with raw_server(behave) as server:
            assert fetched(client, locked(f"{server.url}/x"), tmp_path) == SHA256
            heard = [*server.heard, *other.heard]
            assert [BASIC in asked for asked in heard] == [True, False]
    client.close()


def test_user_and_password_of_a_redirect_are_not_sent(tmp_path: Path) -> None:
    """An origin must not make us log in elsewhere with credentials that it chose."""
    client = origins()

    def behave(talk: Talk) -> None:
        if b"GET /end" in talk.asked:
            good()(talk)
        else:
            redirects(f"http://root:toor@127.0.0.1:{server.port}/end")(talk)

    with raw_server(behave) as server:
        assert fetched(client, plain(f"{server.url}/x"), tmp_path) == SHA256
        assert [b"authorization" in asked.lower() for asked in server.heard] == [False, False]
    client.close()


# TLS


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the certificate of the one host that this machine trusts."""
    file = certificate(tmp_path, "good.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    ANSWERS["good.example"] = ANSWERS["other.example"] = [["127.0.0.1"]]
    return file


def test_certificates_are_checked_against_the_name_of_the_host(trusted: Path, tmp_path: Path) -> None:
    """Although the connection is made to an address that was looked up before."""
    client = origins()
    with raw_server(good(), tls=tls_of(trusted)) as server:
        assert fetched(client, plain(f"https://good.example:{server.port}/x"), tmp_path) == SHA256
        for host in ("other.example", "127.0.0.1"):
            code = outcome(plain(f"https://{host}:{server.port}/x"), tmp_path)
            assert code == "origin_certificate_invalid"
        assert len(server.heard) == 1
    client.close()


def test_an_untrusted_certificate_is_refused(trusted: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = certificate(tmp_path / "own", "good.example")
    assert own != trusted
    with raw_server(good(), tls=tls_of(own)) as server:
        assert outcome(plain(f"https://good.example:{server.port}/x"), tmp_path) == "origin_certificate_invalid"


def test_a_redirect_from_https_to_http_is_refused(trusted: Path, tmp_path: Path) -> None:
    with raw_server(good()) as insecure:
        with raw_server(redirects(f"http://good.example:{insecure.port}/x"), tls=tls_of(trusted)) as server:
            assert outcome(plain(f"https://good.example:{server.port}/x"), tmp_path) == "origin_redirect_refused"
        assert insecure.heard == []


def test_http_to_a_tls_port_and_tls_to_an_http_port_are_reported(trusted: Path, tmp_path: Path) -> None:
    """Each of the two mistakes ends soon, with a code of its own, instead of waiting for the timeout."""
    with raw_server(good(), listens=False) as server:
        assert outcome(plain(f"https://127.0.0.1:{server.port}/x"), tmp_path) == "origin_unreachable"
    with raw_server(good(), tls=tls_of(trusted)) as server:
        assert outcome(plain(f"http://127.0.0.1:{server.port}/x"), tmp_path) == "origin_broke_off"


def test_a_handshake_that_never_ends_is_ended(tmp_path: Path) -> None:
    with raw_server(trickles(b"\x16\x03\x03\x3f\xff", b"\x02"), listens=False) as server:
        code = outcome(plain(f"https://127.0.0.1:{server.port}/x"), tmp_path, connect_timeout_seconds=0.2)
        assert code == "origin_unreachable"


# Downloads that continue


def in_turn(*behaviours: Behaviour) -> Behaviour:
    rest = list(behaviours)

    def behave(talk: Talk) -> None:
        (rest.pop(0) if len(rest) > 1 else rest[0])(talk)

    return behave


LARGE = IMAGE * 100  # several times what is written at once
HALF = LARGE[: 2**19]
REST = LARGE[len(HALF) :]


def half(etag: str) -> Behaviour:
    return says(head(length(len(LARGE)), f"ETag: {etag}"), HALF)


def part(start: int, data: bytes, etag: str = '"v1"', whole: int = len(LARGE)) -> Behaviour:
    content_range = f"Content-Range: bytes {start}-{start + len(data) - 1}/{whole}"
    return says(head(length(len(data)), content_range, f"ETag: {etag}", status="206 Partial Content"), data)


WHOLE = says(head(length(len(LARGE))), LARGE)


@pytest.mark.parametrize(
    "then",
    [
        part(0, REST),
        part(len(HALF), REST[::-1], etag='"v2"'),
        part(10**18 - 1, b"x"),
        part(len(HALF) - 1, REST),
        says(head("Content-Type: multipart/byteranges; boundary=x", length(5), status="206 Partial Content"), b"--x--"),
        says(head(length(0), status="416 Range Not Satisfiable")),
    ],
)
def test_a_download_that_cannot_be_continued_starts_again(then: Behaviour, tmp_path: Path) -> None:
    client = origins(attempts=3, max_bytes=10**7)
    with raw_server(in_turn(half('"v1"'), then, WHOLE)) as server:
        result = client.fetch(plain(f"{server.url}/x"), tmp_path / "original")
        assert result.path.read_bytes() == LARGE
        assert result.sha256 == hashlib.sha256(LARGE).hexdigest()
        assert [b"Range: " in asked for asked in server.heard] == [False, True, False]
    client.close()


@pytest.mark.parametrize("etag", ['"v\u00e9"', '"' + "v" * 5000 + '"', '"a\tb"', 'W/"v1"', "v1"])
def test_a_download_of_an_unknown_version_is_not_continued(etag: str, tmp_path: Path) -> None:
    client = origins(attempts=2, max_bytes=10**7)
    with raw_server(in_turn(half(etag), WHOLE)) as server:
        assert client.fetch(plain(f"{server.url}/x"), tmp_path / "original").path.read_bytes() == LARGE
        assert [b"Range: " in asked for asked in server.heard] == [False, False]
    client.close()


@pytest.mark.parametrize("then", [part(len(HALF), REST[:9]), part(len(HALF), REST, whole=10**17)])
def test_an_incomplete_rest_is_not_taken_for_the_whole(then: Behaviour, tmp_path: Path) -> None:
    with raw_server(in_turn(half('"v1"'), then)) as server:
        code = outcome(plain(f"{server.url}/x"), tmp_path, attempts=2, max_bytes=10**7)
        assert code == "origin_broke_off"


def test_headers_of_excessive_length_are_not_kept(tmp_path: Path) -> None:
    client = origins()
    behave = says(head(length(1), f"ETag: {'v' * 5000}", f"Content-Type: image/{'x' * 5000}"), b"x")
    with raw_server(behave) as server:
        result = client.fetch(plain(f"{server.url}/x"), tmp_path / "original")
        assert (result.version, result.content_type) == (None, None)
    client.close()


# Looking without fetching


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (pours(head(), b"x" * 999), None),
        (pours(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 999), "origin_headers_too_long"),
        (trickles(head(length(10**5)), b"x"), "origin_too_slow"),
        (packed(BOMB, "gzip"), None),
        (packed(BOMB, "br"), "origin_encoding_not_supported"),
        (redirects("http://169.254.169.254/"), "origin_address_refused"),
    ],
)
def test_a_peek_has_the_same_limits(behave: Behaviour, code: str | None) -> None:
    client = origins()
    with raw_server(behave) as server:
        if code is None:
            assert len(client.peek(plain(f"{server.url}/x"), limit=1000).head) == 1000
        else:
            with pytest.raises(IngestError) as caught:
                client.peek(plain(f"{server.url}/x"))
            assert caught.value.code == code
    client.close()


def test_the_size_of_what_is_packed_is_not_known() -> None:
    client = origins()
    with raw_server(packed(gzip.compress(IMAGE), "gzip")) as server:
        peeked = client.peek(plain(f"{server.url}/x"))
        assert (peeked.head, peeked.size) == (IMAGE, None)
    client.close()


# SFTP


def sftp(port: int) -> Origin:
    return Origin(
        f"sftp://127.0.0.1:{port}/x.tif", OriginStrategy.SFTP, None, optimised=False, note=None, rule=SFTP_RULE
    )


def test_an_sftp_server_that_is_not_public_is_not_connected_to(tmp_path: Path) -> None:
    with raw_server(says(b"SSH-2.0-x\r\n"), listens=False) as server:
        assert outcome(sftp(server.port), tmp_path, private_networks=[]) == "origin_address_refused"


@pytest.mark.parametrize(
    ("behave", "code", "options"),
    [
        (holds(b""), "origin_broke_off", {"connect_timeout_seconds": 0.2}),
        (trickles(b"SSH-2.0-", b"x"), "origin_timeout", SHORT),
        (says(head(length(1)), b"x"), "origin_broke_off", {}),
    ],
)
def test_what_is_not_an_sftp_server_is_reported(
    behave: Behaviour, code: str, options: dict[str, Any], tmp_path: Path
) -> None:
    with raw_server(behave, listens=False) as server:
        assert outcome(sftp(server.port), tmp_path, **options) == code
