"""Objects put into S3 in one request each: as boto3 does it, in a quarter of its processor time.

The first object of a bucket is boto3's, and shows where the bucket is. Later ones are signed and sent from here, with
boto3's credentials; whatever is not answered with 200 is repeated by boto3, which knows redirects, retries and errors.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlsplit

from dlcs_assets.clients.aws import S3ClientFactory
from dlcs_assets.clients.lazy import Lazy
from dlcs_assets.domain.errors import is_retryable
from dlcs_assets.domain.s3_uri import S3Location

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from urllib3 import BaseHTTPResponse, PoolManager

_SCOPE: Final = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/s3/aws4_request")
_CHECKSUM: Final = "x-amz-checksum-sha256"
_SENT: Final = "before-send.s3.PutObject"
# Smaller files are sent from memory, in one packet with the headers if that holds them.
_IN_MEMORY_BYTES: Final = 2**18
_BLOCK_BYTES: Final = 2**18
_OK: Final = 200


class Keys(Protocol):
    """The credentials of a moment, as botocore has them."""

    access_key: str
    secret_key: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that is to be stored. `sha256` is that of `content`, in hex, as it was when it was made."""

    location: S3Location
    content: bytes | Path
    bytes: int
    content_type: str
    sha256: str

    @property
    def checksum(self) -> str:
        """The SHA-256 as S3's headers have it."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()


@dataclass(frozen=True, slots=True)
class Put:
    """What S3 answers to a PUT. `is_verified`: it has compared the checksum with the bytes that it has."""

    etag: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a bucket is: what comes before a key in an address, and the region that requests are signed for."""

    base: str
    region: str


class ObjectPuts:
    """Puts objects, from many threads. `close` closes its own connections, not the client."""

    def __init__(self, s3: S3ClientFactory, client: S3Client, *, longest_delay_seconds: float) -> None:
        self._s3 = s3
        self._client = client
        self._longest_delay_seconds = longest_delay_seconds
        self._places: dict[str, _Place] = {}
        self._by_boto3_only: set[str] = set()
        self._pool = Lazy["PoolManager"]()
        self._second = Lazy["S3Client"]()
        self._credentials = Lazy[Any]()
        self._sent = threading.local()
        client.meta.events.register(_SENT, self._notice)

    def put(self, upload: Upload) -> Put:
        """Put an object. S3 refuses bytes that are not those of the checksum. Raises botocore's errors."""
        bucket = upload.location.bucket
        place = self._places.get(bucket)
        if place is None:
            return self._put_by_boto3(self._client, upload)
        answer = self._put_directly(place, upload)
        if answer is not None and answer.status == _OK:
            return _put(answer.headers.get("ETag", ""), answer.headers.get(_CHECKSUM), upload)
        if answer is None or is_retryable(answer.status):
            time.sleep(random.uniform(0, self._longest_delay_seconds))  # noqa: S311 (no secret depends on it)
        elif self._places.pop(bucket, None):
            self._by_boto3_only.add(bucket)
        # That was the first of the attempts.
        return self._put_by_boto3(self._second.get(self._client_with_an_attempt_less), upload)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        if pool := self._pool.take():
            pool.clear()
        if client := self._second.take():
            client.close()

    def _put_by_boto3(self, client: S3Client, upload: Upload) -> Put:
        content, location = upload.content, upload.location
        options: dict[str, Any] = {
            "Bucket": location.bucket,
            "Key": location.key,
            "ContentType": upload.content_type,
            "Metadata": {"sha256": upload.sha256},
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": upload.checksum,
        }
        self._sent.request = None
        if isinstance(content, bytes):
            answer = client.put_object(Body=content, **options)
        else:
            with content.open("rb") as file:
                answer = client.put_object(Body=file, **options)
        self._learn(location, self._sent.request)
        return _put(answer["ETag"], answer.get("ChecksumSHA256"), upload)

    def _notice(self, request: Any, **_: object) -> None:
        self._sent.request = request

    def _learn(self, location: S3Location, request: Any) -> None:
        """Remember where boto3 has sent an object, if its address and signature are of the usual kind."""
        if request is None or location.bucket in self._by_boto3_only or self._s3.use_unsigned_session:
            return
        authorization = request.headers.get("Authorization", "")
        scope = _SCOPE.search(authorization.decode() if isinstance(authorization, bytes) else authorization)
        base = request.url.removesuffix(_quoted(location.key))
        if scope and base != request.url and "?" not in base and not _is_behind_proxy(self._client, base):
            self._places[location.bucket] = _Place(base, scope["region"])

    def _put_directly(self, place: _Place, upload: Upload) -> BaseHTTPResponse | None:
        """Send a PUT once; None if there is no answer to it, or no credentials to sign it with."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        url = urlsplit(place.base + _quoted(upload.location.key))
        headers = {
            "content-type": upload.content_type,
            "host": url.netloc,
            "x-amz-checksum-sha256": upload.checksum,
            "x-amz-content-sha256": upload.sha256,
            "x-amz-meta-sha256": upload.sha256,
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }
        try:
            keys = self._keys()
            if keys is None:
                return None
            signed = sign("PUT", url.path, headers, keys, place.region, now=datetime.now(UTC))
            pool = self._pool.get(self._make_pool).connection_from_url(place.base)
            return pool.urlopen(
                "PUT",
                url.path,
                body=_body(upload),
                headers={**signed, "content-length": str(upload.bytes), "user-agent": "DLCS/2.0"},
                retries=False,
                redirect=False,
            )
        except (BotoCoreError, HTTPError, OSError):
            return None

    def _keys(self) -> Keys | None:
        credentials = self._credentials.get(self._s3.find_credentials)
        keys: Keys | None = credentials and credentials.get_frozen_credentials()
        return keys

    def _client_with_an_attempt_less(self) -> S3Client:
        client: S3Client = replace(self._s3, max_attempts=max(1, self._s3.max_attempts - 1)).get_client()
        client.meta.events.register(_SENT, self._notice)
        return client

    def _make_pool(self) -> PoolManager:
        from urllib3 import PoolManager, Timeout

        return PoolManager(
            maxsize=self._s3.connections,
            timeout=Timeout(connect=self._s3.connect_timeout_seconds, read=self._s3.read_timeout_seconds),
            **self._s3.tls_options(),
        )


def sign(
    method: str, path: str, headers: Mapping[str, str], keys: Keys, region: str, *, now: datetime
) -> dict[str, str]:
    """Return the headers with AWS's signature (version 4) of all of them.

    Their names are in lower case, and `x-amz-content-sha256` is among them. `path` is as it is sent, without a query.
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    day = moment[:8]
    signed = {**headers, "x-amz-date": moment}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    names = sorted(signed)
    lines = [method, path, "", *(f"{name}:{' '.join(signed[name].split())}" for name in names)]
    lines += ["", ";".join(names), signed["x-amz-content-sha256"]]
    scope = f"{day}/{region}/s3/aws4_request"
    request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{request}"
    signature = _hmac(_signing_key(keys.secret_key, day, region), text).hex()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _put(etag: str, checksum: str | None, upload: Upload) -> Put:
    # A store that has not compared a checksum does not return it; others that speak S3's protocol may not even read it.
    return Put(etag.strip('"'), checksum == upload.checksum)


def _quoted(key: str) -> str:
    return quote(key, safe="/~")


def _body(upload: Upload) -> bytes | Iterator[bytes]:
    if isinstance(upload.content, bytes):
        return upload.content
    if upload.bytes <= _IN_MEMORY_BYTES:
        return upload.content.read_bytes()[: upload.bytes]
    return _blocks(upload.content, upload.bytes)


def _blocks(path: Path, length: int) -> Iterator[bytes]:
    """Yield a file's bytes, but no more of them than were promised."""
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(_BLOCK_BYTES, length))):
            length -= len(block)
            yield block


def _is_behind_proxy(client: S3Client, url: str) -> bool:
    from botocore.utils import get_environ_proxies

    return bool(client.meta.config.proxies) or bool(get_environ_proxies(url))  # type: ignore[attr-defined]  # untyped
