"""The strategy `sftp` against a real OpenSSH server."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.origins import Origins
from dlcs_assets.clients.origins.read_ahead import read_ahead
from dlcs_assets.clients.origins.sftp import check_known_host
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError
from dlcs_assets.domain.origin import Origin, OriginStrategy, OriginStrategyRule, classify_origin
from dlcs_testing.processes import eventually
from dlcs_testing.relay import relay_to
from dlcs_testing.scripted_server import refused_url
from dlcs_testing.sshd import MISSING, PASSWORD, USER, Sshd, make_key, running_sshd

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}")

LOOPBACK = ["127.0.0.0/8"]
IMAGE = bytes(range(256)) * 16384  # 4 MB
SHA256 = hashlib.sha256(IMAGE).hexdigest()
PASSPHRASE = "battery " + "staple"


@dataclass(frozen=True)
class Server:
    sshd: Sshd
    keys: Mapping[str, str]
    keys_of_others: str

    def origin(self, path: str = "/page.tif", *, port: int | None = None, **changes: Any) -> Origin:
        url = self.sshd.url(path).replace(f":{self.sshd.port}", f":{port or self.sshd.port}")
        hosts = tuple(
            line.replace(f":{self.sshd.port} ", f":{port or self.sshd.port} ") for line in self.sshd.known_hosts
        )
        rule = OriginStrategyRule(
            "digitisation", OriginStrategy.SFTP, lambda _: True, credentials="env:SFTP_CREDENTIALS", known_hosts=hosts
        )
        return classify_origin(
            url, customer=2, portal_bucket=None, ambient_buckets=(), own_buckets=(), rules=[replace(rule, **changes)]
        )


@contextmanager
def opened(server: Server, answered: Callable[[int], int] = int) -> Iterator[Any]:
    """Open the page with paramiko; `answered` says with how many bytes the server answers a request for that many."""
    import paramiko  # type: ignore[import-untyped]  # its stubs would be one more package
    from paramiko.sftp import CMD_READ  # type: ignore[import-untyped]  # as above

    class Client(paramiko.SFTPClient):  # type: ignore[misc]  # as above
        def _async_request(self, fileobj: object, kind: int, *args: Any) -> Any:
            if kind == CMD_READ:
                handle, offset, length = args
                args = (handle, offset, answered(length))
            return super()._async_request(fileobj, kind, *args)

    with paramiko.Transport(("127.0.0.1", server.sshd.port)) as transport:
        transport.connect(username=USER, password=PASSWORD)
        yield Client.from_transport(transport).open(urlsplit(server.sshd.url("/page.tif")).path)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="dlcs-sshd-"))  # not pytest's own: only its owner may enter that
    folder.chmod(0o755)
    try:
        made = {
            "ed25519": make_key(folder / "a"),
            "rsa": make_key(folder / "b", "rsa"),
            "ecdsa": make_key(folder / "c", "ecdsa"),
            "with passphrase": make_key(folder / "d", passphrase=PASSPHRASE),
        }
        stranger = make_key(folder / "e")
        with running_sshd(folder, authorized=[public for _, public in made.values()]) as sshd:
            sshd.put("page.tif", IMAGE)
            sshd.put("empty.tif", b"")
            sshd.put("page 1+2 é.tif", IMAGE)
            sshd.put("secret.tif", IMAGE).chmod(0)
            yield Server(sshd, {name: private for name, (private, _) in made.items()}, stranger[0])
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def login(**values: str) -> None:
        monkeypatch.setenv("SFTP_CREDENTIALS", json.dumps({"user": USER, **values}))

    login(password=PASSWORD)
    return login


@pytest.fixture
def origins(login: Callable[..., None]) -> Iterator[Origins]:
    del login
    client = Origins(s3=S3ClientFactory(), private_networks=LOOPBACK, first_delay_seconds=0.001, max_bytes=10**7)
    yield client
    client.close()


def test_an_original_comes_to_disk_by_password(server: Server, origins: Origins, tmp_path: Path) -> None:
    fetched = origins.fetch(server.origin(), tmp_path / "original")
    assert fetched.path.read_bytes() == IMAGE
    assert (fetched.bytes, fetched.sha256, fetched.content_type) == (len(IMAGE), SHA256, None)
    modified = int((server.sshd.folder / "files/page.tif").stat().st_mtime)
    assert fetched.version == f"{modified}-{len(IMAGE)}"
    assert f"Accepted password for {USER}" in server.sshd.log()


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa", "with passphrase"])
def test_an_original_comes_to_disk_by_key(
    server: Server, origins: Origins, login: Callable[..., None], tmp_path: Path, kind: str
) -> None:
    login(privateKey=server.keys[kind], **({"passphrase": PASSPHRASE} if kind == "with passphrase" else {}))
    assert origins.fetch(server.origin(), tmp_path / "original").sha256 == SHA256


def test_a_peek_reads_the_head_and_the_size(server: Server, origins: Origins) -> None:
    peeked = origins.peek(server.origin(), limit=100)
    assert (peeked.head, peeked.size) == (IMAGE[:100], len(IMAGE))
    assert peeked.version == origins.peek(server.origin()).version


def test_the_path_is_unescaped(server: Server, origins: Origins, tmp_path: Path) -> None:
    assert origins.fetch(server.origin("/page%201+2%20%C3%A9.tif"), tmp_path / "original").sha256 == SHA256


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/missing.tif", "origin_not_found"),
        ("/../files", "origin_not_found"),
        ("/empty.tif", "origin_empty"),
        ("/secret.tif", "origin_refused"),
    ],
)
def test_a_missing_or_unreadable_file_is_permanent(
    server: Server, origins: Origins, tmp_path: Path, path: str, code: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        origins.fetch(server.origin(path), tmp_path / "original")
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_an_original_above_the_limit_is_not_fetched(server: Server, tmp_path: Path, origins: Origins) -> None:
    del origins
    small = Origins(s3=S3ClientFactory(), private_networks=LOOPBACK, max_bytes=len(IMAGE) - 1)
    with pytest.raises(PermanentError) as caught:
        small.fetch(server.origin(), tmp_path / "original")
    assert caught.value.code == "origin_too_large"


@pytest.mark.parametrize("how", ["password", "key", "passphrase", "no key"])
def test_refused_credentials_name_the_strategy_and_no_secret(  # noqa: PLR0917 (pytest passes fixtures by name)
    server: Server,
    origins: Origins,
    login: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """Whatever is wrong with them, neither the error nor the log, at any level, shows a secret."""
    wrong = f"{PASSWORD} staple"
    given = {
        "password": {"password": wrong},
        "key": {"privateKey": server.keys_of_others},
        "passphrase": {"privateKey": server.keys["with passphrase"], "passphrase": wrong},
        "no key": {"privateKey": wrong},
    }[how]
    login(**given)
    with caplog.at_level(logging.DEBUG), pytest.raises(PermanentError) as refused:
        origins.fetch(server.origin(), tmp_path / "original")
    expected = "origin_login_refused" if how in {"password", "key"} else "origin_credentials_malformed"
    assert refused.value.code == expected
    assert "origin strategy 'digitisation' (sftp)" in refused.value.cause
    shown = "".join(traceback.format_exception(refused.value)) + caplog.text
    assert [secret for secret in (*given.values(), PASSWORD) if secret in shown] == []


def others(server: Server) -> tuple[str, ...]:
    """Return known hosts as they were before the server got new keys."""
    folder = Path(tempfile.mkdtemp(prefix="dlcs-keys-"))
    try:
        return tuple(
            f"[127.0.0.1]:{server.sshd.port} {' '.join(make_key(folder / kind, kind)[1].split()[:2])}"
            for kind in ("ed25519", "rsa")
        )
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("number", [1, 2])
def test_a_host_whose_key_changed_gets_no_password(
    server: Server, origins: Origins, tmp_path: Path, number: int
) -> None:
    """It has an error of its own: the operator must find out whether someone poses as the host."""
    before = server.sshd.log()
    with pytest.raises(PermanentError) as refused:
        origins.fetch(server.origin(known_hosts=others(server)[:number]), tmp_path / "original")
    assert refused.value.code == "origin_host_key_changed"
    assert "'digitisation'" in refused.value.cause
    assert "password for" not in server.sshd.log().removeprefix(before)


@pytest.mark.parametrize("hosts", [(), ("example.org",), ("127.0.0.1",)])
def test_an_unknown_host_gets_no_password(
    server: Server, origins: Origins, tmp_path: Path, hosts: tuple[str, ...]
) -> None:
    key = server.sshd.known_hosts[0].split(" ", 1)[1]
    before = server.sshd.log()
    with pytest.raises(PermanentError) as refused:
        origins.fetch(server.origin(known_hosts=tuple(f"{host} {key}" for host in hosts)), tmp_path / "original")
    assert refused.value.code == "origin_host_unknown"
    assert "password for" not in server.sshd.log().removeprefix(before)


def test_one_known_key_of_several_is_enough(server: Server, origins: Origins, tmp_path: Path) -> None:
    for line in server.sshd.known_hosts:
        assert origins.fetch(server.origin(known_hosts=(line,)), tmp_path / "original").sha256 == SHA256


def test_keys_of_the_user_who_runs_it_are_not_tried(
    server: Server,
    origins: Origins,
    login: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A customer's origin must not be read with a key that happens to lie in ~/.ssh."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").write_text(server.keys["ed25519"])
    monkeypatch.setenv("HOME", str(tmp_path))
    login(password="wrong")
    with pytest.raises(PermanentError) as refused:
        origins.fetch(server.origin(), tmp_path / "original")
    assert refused.value.code == "origin_login_refused"


def test_an_interrupted_download_continues_where_it_ended(server: Server, origins: Origins, tmp_path: Path) -> None:
    path, passed, written = tmp_path / "original", len(IMAGE) // 2, len(IMAGE) // 4

    def wait_for_the_file() -> None:
        """A connection that is reset takes along what has come and was not read: wait until some is on the disk."""
        assert eventually(lambda: path.exists() and path.stat().st_size >= written)

    with relay_to(server.sshd.port, break_after=passed, on_break=wait_for_the_file) as relay:
        fetched = origins.fetch(server.origin(port=relay.port), path)
        assert relay.connections == 2
        assert relay.bytes < passed + len(IMAGE)  # from scratch, it would have been more than that
    assert fetched.path.read_bytes() == IMAGE
    assert fetched.sha256 == SHA256


def test_no_byte_is_fetched_twice(server: Server, origins: Origins, tmp_path: Path) -> None:
    with relay_to(server.sshd.port) as relay:
        origins.fetch(server.origin(port=relay.port), tmp_path / "original")
    assert len(IMAGE) < relay.bytes < 1.02 * len(IMAGE)


def test_a_server_may_answer_with_less_than_requested(server: Server) -> None:
    with opened(server, lambda asked: min(asked, 10_000)) as remote:
        assert b"".join(read_ahead(remote, 70_000, len(IMAGE))) == IMAGE[70_000:]


def test_what_a_server_answers_beyond_the_request_is_dropped(server: Server) -> None:
    """Bytes that were not asked for must not be put into the file a second time."""
    with opened(server, lambda asked: 2 * asked) as remote:
        assert b"".join(read_ahead(remote, 0, len(IMAGE))) == IMAGE


def test_a_file_that_became_shorter_ends_where_it_ends(server: Server) -> None:
    with opened(server) as remote:
        assert b"".join(read_ahead(remote, 0, 2 * len(IMAGE))) == IMAGE


def test_an_original_that_changed_meanwhile_is_fetched_again(server: Server, origins: Origins, tmp_path: Path) -> None:
    path = server.sshd.put("changing.tif", IMAGE)
    changed = IMAGE[::-1][:-1]

    def change() -> None:
        path.write_bytes(changed)

    with relay_to(server.sshd.port, break_after=len(IMAGE) // 2, on_break=change) as relay:
        fetched = origins.fetch(server.origin("/changing.tif", port=relay.port), tmp_path / "original")
    assert fetched.path.read_bytes() == changed
    assert fetched.sha256 == hashlib.sha256(changed).hexdigest()


def test_a_host_that_does_not_answer_is_transient_and_not_ours(
    server: Server, origins: Origins, tmp_path: Path
) -> None:
    """It is retried later, and must not count as an outage of one of our own services."""
    with pytest.raises(TransientError) as caught:
        origins.fetch(server.origin(port=int(refused_url().rpartition(":")[2])), tmp_path / "original")
    assert caught.value.code == "origin_unreachable"
    assert not isinstance(caught.value, ServiceDownError)


def test_a_host_that_says_nothing_ends_with_the_time_limit(server: Server, tmp_path: Path, origins: Origins) -> None:
    del origins
    impatient = Origins(
        s3=S3ClientFactory(),
        private_networks=LOOPBACK,
        attempts=1,
        connect_timeout_seconds=0.3,
        read_timeout_seconds=0.3,
    )
    with relay_to(server.sshd.port, silent=True) as relay, pytest.raises(IngestError) as caught:
        impatient.fetch(server.origin(port=relay.port), tmp_path / "original")
    assert isinstance(caught.value, TransientError)
    assert caught.value.code in {"origin_timeout", "origin_broke_off"}


def test_nothing_is_left_running_afterwards(server: Server, origins: Origins, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    origins.fetch(server.origin(), tmp_path / "original")
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(5)
    assert [thread for thread in left if thread.is_alive()] == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "host",
        "host ssh-ed25519",
        "host ssh-ed25519 AAAA",
        "host ssh-rsa {ed25519}",
        "*.org ssh-ed25519 {ed25519}",
        "@revoked host ssh-ed25519 {ed25519}",
        "# host ssh-ed25519 {ed25519}",
    ],
)
def test_an_invalid_line_of_known_hosts_is_refused(server: Server, line: str) -> None:
    key = server.sshd.known_hosts[0].split()[2]
    with pytest.raises(ValueError, match="is no line of known_hosts"):
        check_known_host(line.format(ed25519=key))


def scanned(server: Server, *options: str) -> list[str]:
    """Return what ssh-keyscan prints of the server, in the form of the customers file."""
    command = ["ssh-keyscan", *options, "-p", str(server.sshd.port), "127.0.0.1"]
    scanned = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [check_known_host(line) for line in scanned if not line.startswith("#")]


def test_lines_as_ssh_keyscan_prints_them_are_known_hosts(server: Server, origins: Origins, tmp_path: Path) -> None:
    assert set(scanned(server)) == set(server.sshd.known_hosts)
    for line in scanned(server, "-H"):
        assert origins.fetch(server.origin(known_hosts=(line,)), tmp_path / "original").sha256 == SHA256
