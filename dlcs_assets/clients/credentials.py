"""User and password of an origin, read from where they are kept, remembered for a minute, and shown nowhere."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dlcs_assets.clients.aws import aws_errors, client_config, make_client
from dlcs_assets.clients.http import Peer
from dlcs_assets.clients.lazy import Lazy
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.origin import OriginStrategyRule
from dlcs_assets.domain.s3_uri import parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

SECONDS_REMEMBERED: Final = 60.0
_LARGEST_BYTES: Final = 2**16
_EXPECTED: Final = (
    "expected where they are kept: s3://bucket/key, secretsmanager:NAME or env:NAME, and never the credentials"
)
_SECRET: Final = re.compile(r"secretsmanager:[A-Za-z0-9/_+=.@:-]{1,600}")
_VARIABLE: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or with a private key (OpenSSH or PEM) and its passphrase."""

    user: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)


def check_reference(text: str) -> str:
    """Return a reference to credentials. Raises ValueError, which does not show the text: it may be a password."""
    location = parse_s3_uri(text) if text.startswith("s3://") else None
    if (location and location.key) or _SECRET.fullmatch(text) or _VARIABLE.fullmatch(text):
        return text
    raise ValueError(f"is no such reference; {_EXPECTED}")


class CredentialStore:
    """Reads credentials by reference, each once a minute. `s3_client` makes the client that reads S3 objects."""

    def __init__(self, s3_client: Callable[[], S3Client], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._s3_client = s3_client
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[float, Credentials]] = {}
        self._secrets = Lazy[object]()

    def get(self, rule: OriginStrategyRule) -> Credentials:
        """Return the credentials of an origin strategy. Raises the errors of the error tree, `origin_credentials_*`."""
        if rule.secret is not None:
            return _parse(rule.secret, rule)
        reference = rule.credentials
        if reference is None:
            raise _missing(rule)
        with self._lock:
            since, credentials = self._remembered.get(reference, (float("-inf"), None))
        if credentials is None or self._clock() - since > SECONDS_REMEMBERED:
            credentials = _parse(self._read(reference, rule), rule)
            with self._lock:
                self._remembered[reference] = (self._clock(), credentials)
        return credentials

    def forget(self, rule: OriginStrategyRule) -> None:
        """Forget what was refused, so that corrected credentials are used at once."""
        with self._lock:
            self._remembered.pop(rule.credentials or "", None)

    def _read(self, reference: str, rule: OriginStrategyRule) -> str | bytes:
        kind, _, name = reference.partition(":")
        if kind == "env":
            value = os.environ.get(name)
            if value is None:
                raise _missing(rule)
            return value
        peer = Peer("The store of credentials", "origin_credentials", is_internal=True, remedy=_remedy(rule))
        with aws_errors(peer, f"Reading the credentials of origin strategy {rule}"):
            if kind == "secretsmanager":
                return self._read_secret(name)
            location = parse_s3_uri(reference)
            assert location is not None
            body = self._s3_client().get_object(Bucket=location.bucket, Key=location.key)["Body"]
            return body.read(_LARGEST_BYTES)

    def _read_secret(self, name: str) -> str | bytes:
        client = self._secrets.get(_secrets_client)
        answer = client.get_secret_value(SecretId=name)  # type: ignore[attr-defined]  # boto3 makes its methods as it runs
        return answer.get("SecretString") or answer.get("SecretBinary") or b""


def _secrets_client() -> object:
    config = client_config(attempts=3, connections=4, connect_timeout_seconds=5.0, read_timeout_seconds=20.0)
    client: object = make_client("secretsmanager", config=config)
    return client


def _parse(data: str | bytes, rule: OriginStrategyRule) -> Credentials:
    """Read `{"user", "password"}` or, for sftp, `{"user", "privateKey", "passphrase"}`.

    Nothing of what is wrong is chained to the error: it would hold the text.
    """
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
        credentials = Credentials(
            value.get("user", ""), value.get("password"), value.get("privateKey"), value.get("passphrase")
        )
        if credentials.user and (credentials.password or credentials.private_key):
            return credentials
    raise PermanentError(
        "origin_credentials_malformed",
        f"The credentials of origin strategy {rule} are not what they should be.",
        remedy='Store them as JSON: {"user": "...", "password": "..."}, or for sftp with "privateKey".',
    )


def _missing(rule: OriginStrategyRule) -> PermanentError:
    return PermanentError(
        "origin_credentials_not_found",
        f"The credentials of origin strategy {rule} are not where they should be.",
        remedy=_remedy(rule),
    )


def _remedy(rule: OriginStrategyRule) -> str:
    if rule.credentials is None:
        return "Give them to the origin strategy in the DLCS; then retry."
    return f"Store them at {rule.credentials}, readable by the runs, or correct the strategy; then retry."
