"""The proxy of deploy/apache in front of the real webserver: Apache itself, its OIDC module, a login, and attacks."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from dlcs_assets_tests.deploy.files import DEPLOY
from dlcs_stack.supervisor import Service, Supervisor, free_port, http_health, is_free
from dlcs_testing.http_serving import Answer, serving

APACHE = Path("/usr/sbin/apache2")
MODULES = Path("/usr/lib/apache2/modules")
OIDC = MODULES / "mod_auth_openidc.so"
HOST = "ui.example"
LOADED = (
    *("mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc", "socache_shmcb", "ssl", "headers"),
    *("rewrite", "proxy", "proxy_http", "reqtimeout"),
)

pytestmark = pytest.mark.skipif(
    not OIDC.exists(), reason=f"no {OIDC}: apt-get install apache2 libapache2-mod-auth-openidc"
)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class IdentityProvider:
    """As much of OpenID Connect as a login takes: metadata, keys, an authorisation at once, and a token."""

    key: rsa.RSAPrivateKey
    url: str = ""
    groups: str = "digital-library"
    asked: dict[str, str] = field(default_factory=dict)

    def answer(self, _method: str, path: str, _headers: dict[str, str], body: bytes) -> Answer:
        parts = urlsplit(path)
        if parts.path == "/authorize":
            self.asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            location = f"{self.asked['redirect_uri']}?code=good&state={self.asked['state']}"
            return Answer(302, headers={"Location": location})
        found: Mapping[str, Any] = {
            "/.well-known/openid-configuration": self._metadata(),
            "/keys": {"keys": [self._public_key()]},
            "/token": self._token(body) if parts.path == "/token" else {},
        }.get(parts.path, {})
        return Answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _metadata(self) -> dict[str, Any]:
        places = {name: f"{self.url}/{place}" for name, place in PLACES.items()}
        return {
            **places,
            "issuer": self.url,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _public_key(self) -> dict[str, str]:
        numbers = self.key.public_key().public_numbers()
        modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": encoded(modulus), "e": "AQAB"}

    def _token(self, body: bytes) -> dict[str, Any]:
        sent = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
        assert encoded(digest) == self.asked["code_challenge"]
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "a-librarian",
            "aud": "dlcs",
            "iat": now,
            "exp": now + 600,
            "nonce": self.asked["nonce"],
            "groups": [self.groups],
        }
        signed = ".".join(encoded(json.dumps(each).encode()) for each in ({"alg": "RS256", "kid": "1"}, claims))
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {"access_token": "a", "token_type": "Bearer", "id_token": f"{signed}.{encoded(signature)}"}


PLACES = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}


@dataclass(frozen=True)
class Door:
    """The proxy, by its port on this machine."""

    port: int
    provider: IdentityProvider
    tls: ssl.SSLContext

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        host: str | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request by a name of our choice, as nothing resolves it here."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=30)
        try:
            sent = {"Host": host or f"{HOST}:{self.port}", **(headers or {})}
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def log_in(self) -> str:
        """Go through the login as a browser does; return the cookie of the session."""
        status, first, _ = self.ask("GET", "/runs", {"Accept": "text/html"})
        assert status == 302
        state = first["set-cookie"].partition(";")[0]
        sent_back = httpx.get(first["location"], follow_redirects=False).headers["location"]
        assert sent_back.startswith(f"{self.origin}/oidc/callback?")
        back = urlsplit(sent_back)
        status, second, body = self.ask("GET", f"{back.path}?{back.query}", {"Cookie": state, "Accept": "text/html"})
        assert (status, second.get("location")) == (302, f"{self.origin}/runs"), body
        cookies = re.findall(r"__Host-dlcs-ui=[^;]+", second["set-cookie"])
        assert "Secure" in second["set-cookie"]
        assert "HttpOnly" in second["set-cookie"]
        return str(cookies[-1])


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for the host and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ui.pem", folder / "ui.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    return pem, secret


def main_configuration(folder: Path) -> Path:
    """Write what a distribution's own files say, and include ours as it is."""
    lines = [
        f'ServerRoot "{folder}"',
        "ServerName localhost",
        f"PidFile {folder}/pid",
        f"ErrorLog {folder}/error.log",
        f"DefaultRuntimeDir {folder}",
        *(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in LOADED),
        f"Include {DEPLOY}/apache/ui.conf",
    ]
    path = folder / "apache2.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("apache")
    pem, secret = certificate(folder)
    (folder / "workspace.yaml").write_text("load_from: []\n")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    provider = IdentityProvider(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    ui, port = free_port(), free_port()
    with ExitStack() as stack:
        provider.url = stack.enter_context(serving(provider.answer))
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(folder),
            "UI_HOST": HOST,
            "UI_ORIGIN": f"https://{HOST}:{port}",
            "UI_LISTEN": str(port),
            "UI_BACKEND": f"127.0.0.1:{ui}",
            "UI_CERTIFICATE": str(pem),
            "UI_KEY": str(secret),
            "UI_CLAIM": "groups:digital-library",
            "OIDC_CLIENT_ID": "dlcs",
            "OIDC_CLIENT_SECRET": "not-a-secret",
            "OIDC_PASSPHRASE": "x" * 32,
            "OIDC_METADATA": f"{provider.url}/.well-known/openid-configuration",
        }
        webserver = [sys.executable, "-m", "dlcs_assets.instance.webserver", "-w", str(folder / "workspace.yaml")]
        webserver += ["-p", str(ui), "--allow-host", HOST]
        apache = [str(APACHE), "-f", str(main_configuration(folder)), "-D", "FOREGROUND"]
        checked = subprocess.run([*apache[:-2], "-t"], env=environment, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        supervisor = stack.enter_context(Supervisor())
        supervisor.start(
            Service(
                "webserver",
                webserver,
                folder / "webserver.log",
                http_health(f"http://127.0.0.1:{ui}/server_info"),
                environment,
            ),
            Service(
                "apache",
                apache,
                folder / "apache.log",
                lambda: "it does not listen" if is_free(port) else None,
                environment,
            ),
        )
        tls = ssl.create_default_context(cafile=str(pem))
        tls.check_hostname = False
        yield Door(port, provider, tls)


def test_nothing_is_given_without_a_login(door: Door) -> None:
    for path in ("/", "/runs", "/server_info", "/logs/x", "/graphql"):
        status, headers, _ = door.ask("GET", path, {"Accept": "text/html"})
        assert (status, headers["location"].partition("?")[0]) == (302, f"{door.provider.url}/authorize"), path
    query = json.dumps({"query": "{ version }"}).encode()
    for headers in ({}, {"Cookie": "__Host-dlcs-ui=forged"}, {"X-Forwarded-User": "root", "OIDC_CLAIM_groups": "x"}):
        sent = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        assert door.ask("POST", "/graphql", sent, query)[0] == 401


def test_who_has_logged_in_uses_the_ui(door: Door) -> None:
    cookie = {"Cookie": door.log_in()}
    status, headers, body = door.ask("GET", "/runs", {**cookie, "Accept": "text/html"})
    assert (status, headers["x-frame-options"]) == (200, "DENY")
    assert b"Dagster" in body
    sent = {**cookie, "Content-Type": "application/json", "Origin": door.origin}
    status, _, body = door.ask("POST", "/graphql", sent, json.dumps({"query": "{ version }"}).encode())
    assert (status, "version" in json.loads(body)["data"]) == (200, True)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Origin": door.origin}
    upgrade |= {"Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(), "Sec-WebSocket-Protocol": "graphql-ws"}
    assert door.ask("GET", "/graphql", {**cookie, **upgrade})[0] == 101
    assert door.ask("GET", "/graphql", {**cookie, **upgrade, "Origin": "https://evil.example"})[0] == 403


def test_foreign_pages_are_refused_with_a_session_too(door: Door) -> None:
    """The browser sends the cookie along."""
    cookie = {"Cookie": door.log_in(), "Accept": "*/*"}
    query = json.dumps({"query": 'mutation { setConcurrencyLimit(concurrencyKey: "x", limit: 1) }'}).encode()
    for foreign in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{HOST}"},
        {"Origin": f"{door.origin}.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ):
        for method in ("GET", "POST"):
            sent = {**cookie, **foreign, "Content-Type": "application/json"}
            assert door.ask(method, "/graphql", sent, query if method == "POST" else b"")[0] == 403, foreign
    assert door.ask("GET", "/graphql?query=mutation%7Bx%7D", cookie)[0] == 405
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert door.ask("GET", "/runs", {**cookie, **link, "Accept": "text/html"})[0] == 200


def test_other_names_get_nothing(door: Door) -> None:
    cookie = {"Cookie": door.log_in()}
    for host in ("evil.example", f"evil.example:{door.port}", "127.0.0.1", "localhost", f"{HOST}.evil.example"):
        assert door.ask("GET", "/runs", cookie, host=host)[0] == 421, host


def test_a_login_without_the_claim_is_not_enough(door: Door) -> None:
    door.provider.groups = "another-department"
    try:
        cookie = {"Cookie": door.log_in(), "Accept": "text/html"}
        assert door.ask("GET", "/runs", cookie)[0] in {401, 403}
    finally:
        door.provider.groups = "digital-library"
