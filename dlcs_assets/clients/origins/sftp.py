"""The strategy `sftp`: originals over SSH, from hosts whose keys are known."""

from __future__ import annotations

import base64
import binascii
import io
import re
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from dlcs_assets.clients.credentials import Credentials
from dlcs_assets.clients.origins.addresses import AddressRefusedError, connect
from dlcs_assets.clients.origins.read_ahead import read_ahead
from dlcs_assets.clients.origins.strategy import (
    PEER,
    FetchOptions,
    Peeked,
    address_refused,
    login_refused,
    not_found,
    refused,
)
from dlcs_assets.clients.transfer import Fetched, PartialFile
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.logs import keep_libraries_quiet

if TYPE_CHECKING:
    import paramiko  # type: ignore[import-untyped]  # its stubs would be one more package

_PORT: Final = 22
_HOSTS: Final = re.compile(r"\|1\|[A-Za-z0-9+/=]+\|[A-Za-z0-9+/=]+|[^\s,#@*?!]+(,[^\s,#@*?!]+)*")
_KNOWN_HOST_FIELDS: Final = 3
_LENGTH_BYTES: Final = 4  # before each part of a key


def fetch(origin: Origin, file: PartialFile, options: FetchOptions) -> Fetched:
    """Download to the file; from where an earlier attempt broke off, if size and time of the original are the same."""
    began = time.monotonic()
    with _opened(origin, options) as remote:
        known = remote.stat()
        _expect_file(known, origin)
        version = _version(known)
        if not file.can_continue or file.version != version:
            file.begin(version)
        size = known.st_size or 0
        file.expect(size - file.length)
        file.append(read_ahead(remote, file.length, size))
        if file.length != size:
            raise _broke_off(origin, f"sent {file.length} of {size} bytes")
    milliseconds = round((time.monotonic() - began) * 1000)
    return Fetched(file.path, file.length, file.sha256, None, version, milliseconds)


def peek(origin: Origin, limit: int, options: FetchOptions) -> Peeked:
    """Read what the server knows of a file, and its first bytes."""
    with _opened(origin, options) as remote:
        known = remote.stat()
        _expect_file(known, origin)
        return Peeked(remote.read(limit), known.st_size, None, _version(known))


@contextmanager
def _opened(origin: Origin, options: FetchOptions) -> Iterator[paramiko.SFTPFile]:
    """Connect, log in, and open the file. Raises the errors of the error tree."""
    from paramiko import SSHClient

    keep_libraries_quiet()
    limits, credentials = options.limits, options.credentials
    assert credentials is not None  # the customers file says where they are, or is refused
    parts = urlsplit(origin.url)
    host, port = parts.hostname or "", parts.port or _PORT
    with (
        _errors(origin),
        connect(host, port, options.networks, options.resolve, options.own, timeout=limits.connect) as connection,
        _ended_after(limits.whole, connection),
        SSHClient() as client,
    ):
        _know_hosts(client, origin)
        client.connect(
            host,
            port,
            sock=connection,
            username=credentials.user,
            password=credentials.password,
            pkey=_private_key(credentials, origin),
            # What else lies about on this machine is not the customer's.
            allow_agent=False,
            look_for_keys=False,
            timeout=limits.connect,
            banner_timeout=limits.connect,
            auth_timeout=limits.read,
            channel_timeout=limits.read,
        )
        with client.open_sftp() as sftp:
            channel = sftp.get_channel()
            assert channel is not None
            channel.settimeout(min(limits.read, limits.whole))
            # Closed with the connection: closing it by itself would wait for the answer of a server that has none.
            yield sftp.open(unquote(parts.path), "rb")


@contextmanager
def _ended_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """End a connection that is in use for longer. Raises TimeoutError instead of what comes of it.

    paramiko's time limits are between two packets: an answer that trickles would never end by them alone.
    """
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if over.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


@contextmanager
def _errors(origin: Origin) -> Iterator[None]:
    import paramiko

    try:
        yield
    except IngestError:
        raise
    except AddressRefusedError as error:
        raise address_refused(origin, error) from error
    except paramiko.BadHostKeyException:
        raise _unknown_host(origin, "origin_host_key_changed", "shows another host key than the known one") from None
    except paramiko.AuthenticationException:
        # Without its cause: the error may hold what was sent.
        raise login_refused(origin) from None
    except FileNotFoundError:
        raise not_found(origin.url, "has no file") from None
    except PermissionError:
        raise refused(origin.url, "does not let the user read") from None
    except TimeoutError as error:
        cause = f"The origin at {shown_url(origin.url)} took too long to answer"
        raise TransientError("origin_timeout", cause, remedy=PEER.remedy) from error
    except OSError as error:
        cause = f"The origin at {shown_url(origin.url)} can't be reached: {error.strerror or type(error).__name__}"
        raise TransientError("origin_unreachable", cause, remedy=PEER.remedy) from error
    except (paramiko.SSHException, EOFError) as error:
        raise _broke_off(origin, f"broke off the connection: {error or type(error).__name__}") from error


def _know_hosts(client: paramiko.SSHClient, origin: Origin) -> None:
    from paramiko import MissingHostKeyPolicy
    from paramiko.hostkeys import HostKeyEntry  # type: ignore[import-untyped]  # it has no types

    class Refuse(MissingHostKeyPolicy):  # type: ignore[misc]  # of a library without types
        """A host that is not known is not logged in to: it would learn the password."""

        def missing_host_key(self, *_: object) -> None:
            raise _unknown_host(origin, "origin_host_unknown", "is not among the known hosts")

    known = client.get_host_keys()
    for line in origin.rule.known_hosts if origin.rule else ():
        entry = HostKeyEntry.from_line(line)
        if entry is not None and entry.key is not None:
            for name in entry.hostnames:
                known.add(name, entry.key.get_name(), entry.key)
    client.set_missing_host_key_policy(Refuse())


def _private_key(credentials: Credentials, origin: Origin) -> paramiko.PKey | None:
    from paramiko import ECDSAKey, Ed25519Key, RSAKey, SSHException

    if credentials.private_key is None:
        return None
    for kind in (Ed25519Key, ECDSAKey, RSAKey):
        try:
            return kind.from_private_key(io.StringIO(credentials.private_key), credentials.passphrase)
        except (SSHException, ValueError, IndexError):
            continue
    raise PermanentError(
        "origin_credentials_malformed",
        f"The private key of origin strategy {origin.rule} can't be read, or its passphrase does not fit.",
        remedy="Store an Ed25519, ECDSA or RSA key as OpenSSH or PEM has it, with its passphrase if it has one.",
    )


def _unknown_host(origin: Origin, code: str, what: str) -> PermanentError:
    return PermanentError(
        code,
        f"The host of {shown_url(origin.url)} {what} (origin strategy {origin.rule})",
        remedy="Ask its keeper for its keys, compare them with ssh-keyscan, and correct known_hosts; then retry.",
    )


def _expect_file(known: paramiko.SFTPAttributes, origin: Origin) -> None:
    if known.st_mode is not None and not stat.S_ISREG(known.st_mode):
        raise not_found(origin.url, "has no regular file")


def _broke_off(origin: Origin, what: str) -> TransientError:
    return TransientError("origin_broke_off", f"The origin at {shown_url(origin.url)} {what}", remedy=PEER.remedy)


def _version(known: paramiko.SFTPAttributes) -> str | None:
    if known.st_mtime is None or known.st_size is None:
        return None
    return f"{known.st_mtime}-{known.st_size}"


def check_known_host(line: str) -> str:
    """Return the line `hosts key-type key`. Raises ValueError for a line that is none, patterns and marks included."""
    fields = line.split()[:_KNOWN_HOST_FIELDS]
    if len(fields) < _KNOWN_HOST_FIELDS or not _HOSTS.fullmatch(fields[0]) or not _is_key(fields[1], fields[2]):
        raise ValueError("is no line of known_hosts; expected 'host key-type key', as ssh-keyscan prints it")
    return " ".join(fields)


def _is_key(kind: str, text: str) -> bool:
    """Return whether the key is whole and of that kind, which it begins with."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    length = int.from_bytes(key[:_LENGTH_BYTES])
    return key[_LENGTH_BYTES : _LENGTH_BYTES + length] == kind.encode() and len(key) > _LENGTH_BYTES + length
