"""What the users of AWS share: clients with time limits, and botocore's errors in our own words."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from dlcs_assets.clients.http import Peer, one_line
from dlcs_assets.domain.errors import IngestError, PermanentError, ServiceDownError, TransientError, is_retryable
from dlcs_assets.domain.origin import OriginBucket
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.logs import keep_libraries_quiet

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

_SESSION_LOCK: Final = threading.Lock()
_NOT_FOUND: Final = frozenset(
    {"NoSuchKey", "NoSuchBucket", "NotFound", "404", "AWS.SimpleQueueService.NonExistentQueue"}
    | {"ResourceNotFoundException"}
)
# Codes that S3 and SQS send with a 4xx, and that pass.
_PASSING: Final = frozenset(
    {"BadDigest", "ExpiredToken", "PreconditionFailed", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown"}
    | {
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)

# What botocore's texts may name: nothing of it comes from a request, an answer or a store of credentials.
_SHOWN_VALUES: Final = frozenset(
    {"region_name", "provider", "profile", "path", "cred_var", "actual_bytes", "expected_bytes", "service_name"}
)
_SHOWN_URLS: Final = frozenset({"endpoint_url", "proxy_url", "endpoint"})
_ABOUT_CREDENTIALS: Final = frozenset(
    {"AuthorizationHeaderMalformed", "IncompleteSignature", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken"}
    | {"AuthorizationQueryParametersError", "InvalidClientTokenId", "SignatureDoesNotMatch", "MissingSecurityHeader"}
    | {"UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException"}
)
_ARCHIVED: Final = "InvalidObjectState"


@dataclass(frozen=True, kw_only=True)
class S3ClientFactory:
    """How to reach S3. Each call makes a client with connections of its own: the caller keeps it, and closes it.

    None: as the environment says. There are as many connections as there are threads at work.
    """

    endpoint_url: str | None = None
    region_name: str | None = None
    profile_name: str | None = None
    use_ssl: bool = True
    verify: bool | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)
    use_unsigned_session: bool = False
    max_attempts: int = 5
    connections: int = 32
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 60.0

    def get_client(self) -> Any:
        """Make a client."""
        return self.get_client_at(None, None)

    def find_credentials(self) -> Any:
        """Return the credentials by which the clients sign, which renew themselves; None if there are none."""
        from botocore.credentials import Credentials

        if self.aws_access_key_id and self.aws_secret_access_key:
            return Credentials(self.aws_access_key_id, self.aws_secret_access_key, self.aws_session_token)
        with _SESSION_LOCK:
            return _session(self.profile_name).get_credentials()

    def tls_options(self) -> dict[str, Any]:
        """Return by which authorities the clients trust a server, in urllib3's words."""
        from botocore.httpsession import get_cert_path

        if self.verify is False:
            return {"cert_reqs": "CERT_NONE"}
        with _SESSION_LOCK:
            session = _session(self.profile_name)._session  # noqa: SLF001 (boto3's has no other way to what it is given)
            bundle = session.get_config_variable("ca_bundle")
        return {"cert_reqs": "CERT_REQUIRED", "ca_certs": bundle or get_cert_path(True)}

    def get_client_at(self, endpoint_url: str | None, region_name: str | None) -> Any:
        """Make a client for another endpoint or region, None being those of this factory."""
        return make_client(
            "s3",
            profile_name=self.profile_name,
            region_name=region_name or self.region_name,
            use_ssl=self.use_ssl,
            verify=self.verify,
            endpoint_url=endpoint_url or self.endpoint_url,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            config=client_config(
                attempts=self.max_attempts,
                connections=self.connections,
                connect_timeout_seconds=self.connect_timeout_seconds,
                read_timeout_seconds=self.read_timeout_seconds,
                unsigned=self.use_unsigned_session,
            ),
        )


class S3Clients:
    """S3 clients by place, each made when it is first needed. `make` takes endpoint and region."""

    def __init__(self, make: Callable[[str | None, str | None], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._clients: dict[OriginBucket, S3Client] = {}

    def get(self, place: OriginBucket = OriginBucket()) -> S3Client:  # noqa: B008 (it is frozen)
        """Return the client for buckets of a place; without one, for those where our own storage is."""
        with self._lock:
            if place not in self._clients:
                self._clients[place] = self._make(place.endpoint, place.region)
            return self._clients[place]

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()


def make_client(
    service: Literal["s3", "secretsmanager", "sns", "sqs"], *, profile_name: str | None = None, **options: Any
) -> Any:
    """Make a boto3 client. The session is shared: a new one reads botocore's description of the service again."""
    keep_libraries_quiet()
    with _SESSION_LOCK:  # sessions, unlike clients, are not for several threads
        return _session(profile_name).client(service, **options)


@cache
def _session(profile_name: str | None) -> Session:
    import boto3

    # A blank region, profile or file of authorities is an error to botocore, and compose files can't leave one out.
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value.strip()]:
        del os.environ[name]
    return boto3.session.Session(profile_name=profile_name)


def client_config(
    *,
    attempts: int,
    connections: int,
    connect_timeout_seconds: float,
    read_timeout_seconds: float,
    unsigned: bool = False,
) -> Config:
    """Return botocore's configuration of a client: its retries have back-off and jitter of their own."""
    from botocore import UNSIGNED
    from botocore.config import Config

    return Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        connect_timeout=connect_timeout_seconds,
        read_timeout=read_timeout_seconds,
        signature_version=UNSIGNED if unsigned else None,
    )


@contextmanager
def aws_errors(peer: Peer, what: str) -> Iterator[None]:
    """Raise botocore's errors as ours. `what` says what was attempted, without credentials."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise _error_of(error, peer, what) from error


def _error_of(error: Exception, peer: Peer, what: str) -> IngestError:
    from botocore import exceptions

    match error:
        case exceptions.ClientError():
            return _error_of_answer(error.response, peer, what)
        case exceptions.EndpointConnectionError() | exceptions.ConnectTimeoutError():
            cause = f"{what}: nothing answers there"
            return ServiceDownError(f"{peer.code}_unavailable", cause, remedy=peer.remedy)
        case exceptions.ParamValidationError():
            cause = f"{what}: {_said(error)}"
            return PermanentError(f"{peer.code}_refused", cause, remedy=peer.remedy)
        case _:
            # Broken connections and time limits, and credentials that are not available at this moment.
            cause = f"{what}: {_said(error)}"
            return TransientError(f"{peer.code}_unavailable", cause, remedy=peer.remedy)


def _said(error: Exception) -> str:
    """Return what botocore says, without what it was given or sent: values are put into its texts by name."""
    kind = type(error).__name__
    pattern: str | None = getattr(error, "fmt", None)
    if pattern is None:
        return kind
    given: Mapping[str, Any] = getattr(error, "kwargs", {})
    shown = {name: str(given[name]) for name in _SHOWN_VALUES & given.keys()}
    shown |= {name: shown_url(str(given[name])) for name in _SHOWN_URLS & given.keys()}
    return one_line(f"{pattern.format_map(_Shown(shown))} ({kind})")


class _Shown(dict[str, str]):
    """Values by name; those that are not shown are an ellipsis."""

    def __missing__(self, _name: str) -> str:
        return "…"


def archived(peer: Peer, what: str, storage_class: str) -> PermanentError:
    """Return the error for an object that S3 has, and does not return: `what` was attempted."""
    where = f" (storage class {one_line(storage_class, limit=50)})" if storage_class else ""
    code = f"{peer.code}_archived"
    return PermanentError(
        code,
        f"{what}: the object is there, but archived{where}, and S3 returns it only once it is restored",
        remedy=f"Restore it (aws s3api restore-object), wait until S3 has done so, then: dlcs retry --reason {code}",
    )


def _error_of_answer(response: Any, peer: Peer, what: str) -> IngestError:
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # What is said about credentials and signatures may quote them.
    cause = f"{what}: {one_line(code if code in _ABOUT_CREDENTIALS else f'{code} {message}')}"
    if code == _ARCHIVED:
        return archived(peer, what, str(response["Error"].get("StorageClass", "")))
    if code in _NOT_FOUND:
        return PermanentError(f"{peer.code}_not_found", cause, remedy=peer.remedy)
    if code in _PASSING or is_retryable(status):
        return TransientError(f"{peer.code}_unavailable", cause, remedy=peer.remedy)
    return PermanentError(f"{peer.code}_refused", cause, remedy=peer.remedy)
