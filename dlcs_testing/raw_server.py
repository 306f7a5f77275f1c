"""A real server that sends any bytes at all, at any pace, with or without TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PACE_SECONDS = 0.01


@dataclass
class Talk:
    """A connection of a client. Sending raises OSError when the client, or the test, has had enough."""

    connection: socket.socket
    stopped: threading.Event
    asked: bytes = b""

    def hear(self) -> bytes:
        """Read the head of a request."""
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.connection.recv(65536)
            if not part:
                raise ConnectionAbortedError
            head += part
        return head

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.sendall(part)

    def trickle(self, data: bytes) -> None:
        """Send data again and again, one byte at a time."""
        while True:
            for number in data:
                if self.stopped.wait(PACE_SECONDS):
                    raise ConnectionAbortedError
                self.connection.sendall(bytes([number]))

    def pour(self, data: bytes) -> None:
        """Send data again and again, as fast as it is read."""
        while not self.stopped.is_set():
            self.connection.sendall(data)

    def hold(self) -> None:
        """Say nothing more, and don't go away either."""
        self.stopped.wait()


Behaviour = Callable[[Talk], None]


@dataclass
class RawServer:
    port: int
    heard: list[bytes] = field(default_factory=list)  # the heads of requests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def raw_server(behave: Behaviour, *, tls: ssl.SSLContext | None = None, listens: bool = True) -> Iterator[RawServer]:
    """Behave so to each client, after reading the head of its request if it `listens`; then close the connection."""
    stopped = threading.Event()
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = RawServer(listener.getsockname()[1])

        def serve(plain: socket.socket) -> None:
            with suppress(OSError), plain, tls.wrap_socket(plain, server_side=True) if tls else plain as connection:
                talk = Talk(connection, stopped)
                if listens:
                    talk.asked = talk.hear()
                    server.heard.append(talk.asked)
                behave(talk)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # or the system would take back what the client has not read yet
                    pass

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield server
        finally:
            stopped.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake up who accepts
            acceptor.join()


def certificate(folder: Path, *names: str) -> Path:
    """Make a certificate for these names or addresses, signed by itself; its file holds the key as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_named(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{names[0]}.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


def tls_of(file: Path) -> ssl.SSLContext:
    """Return what a server with this certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def _named(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
