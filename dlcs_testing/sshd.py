"""A real OpenSSH server on a free loopback port, without any right of its own: a user, files, a log.

Who logs in is the user that it runs as. So that this user can have a password, `libnss_wrapper` shows the server an
account file of ours; without it there is none.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
WRAPPER = next(iter(sorted(Path("/usr/lib").glob("*/libnss_wrapper.so"))), None)
NEEDED = {"openssh-server": SSHD, "openssh-client": shutil.which("ssh-keygen"), "libnss-wrapper": WRAPPER}
MISSING = [package for package, there in NEEDED.items() if not there]
USER = "reader"
PASSWORD = "correct " + "horse"  # in pieces: tracebacks quote lines of the source
HASH = (
    "$6$dlcstests$l3R705jcD88pmCIOTCAZXu8sl.56IBx2qgjSsQDProRg/qP"
    "KImjBxXaOTOK0oiMbTs4SfTLG5Wc.F0BFuG.kY1"
)  # of it, as crypt(3) makes it
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
{host_keys}
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication yes
KbdInteractiveAuthentication no
PubkeyAuthentication yes
UsePAM no
StrictModes no
PidFile none
LogLevel VERBOSE
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


@dataclass(frozen=True)
class Sshd:
    port: int
    folder: Path
    known_hosts: tuple[str, ...]

    def url(self, path: str = "/page.tif") -> str:
        return f"sftp://127.0.0.1:{self.port}{self.folder}/files{path}"

    def put(self, name: str, data: bytes) -> Path:
        path = self.folder / "files" / name
        path.write_bytes(data)
        path.chmod(0o644)
        return path

    def log(self) -> str:
        return (self.folder / "log").read_text()


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> tuple[str, str]:
    """Return a private key and its public one, as OpenSSH has them."""
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-f", path], check=True)
    return path.read_text(), path.with_name(f"{path.name}.pub").read_text().strip()


@contextmanager
def running_sshd(folder: Path, *, authorized: Sequence[str] = ()) -> Iterator[Sshd]:
    assert SSHD is not None
    assert WRAPPER is not None
    user, group = _who()
    keys = [folder / f"host_{kind}" for kind in ("ed25519", "rsa")]
    public = [make_key(key, key.name.removeprefix("host_"))[1] for key in keys]
    port = _free_port()
    (folder / "files").mkdir()
    (folder / "authorized_keys").write_text("\n".join(authorized))
    (folder / "passwd").write_text(f"{USER}:x:{user}:{group}::{folder}:/bin/false\n")
    (folder / "group").write_text(f"{USER}:x:{group}:\n")
    (folder / "shadow").write_text(f"{USER}:{HASH}:19000:0:99999:7:::\n")
    host_keys = "\n".join(f"HostKey {key}" for key in keys)
    (folder / "sshd_config").write_text(CONFIG.format(port=port, host_keys=host_keys, folder=folder))
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, group)
    environment = {
        "LD_PRELOAD": str(WRAPPER),
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": str(folder / "group"),
        "NSS_WRAPPER_SHADOW": str(folder / "shadow"),
    }
    command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    as_whom = {"user": user, "group": group, "extra_groups": []} if os.geteuid() == 0 else {}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, **as_whom)  # type: ignore[call-overload]  # its options are typed one by one
    try:
        _wait_until_it_listens(process, folder / "log", port)
        yield Sshd(port, folder, tuple(f"[127.0.0.1]:{port} {' '.join(key.split()[:2])}" for key in public))
    finally:
        process.terminate()
        process.wait()


def _who() -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.getuid(), os.getgid()
    account = pwd.getpwnam("nobody")
    return account.pw_uid, account.pw_gid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"sshd does not listen: {log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
