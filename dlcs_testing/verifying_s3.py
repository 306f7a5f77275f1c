"""An S3 that believes nothing: it compares checksums and signatures, as AWS does and moto and rclone do not.

Buckets are kept in memory. It knows objects one by one and listings; uploads in parts and deletions are moto's to test.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from dlcs_testing.http_serving import Answer, serving

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/s3/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_UNSIGNED: Final = frozenset({"UNSIGNED-PAYLOAD"})
_CHECKSUMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "content-md5": lambda data: hashlib.md5(data).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}
_KEPT: Final = ("content-type", "cache-control", "content-encoding")


@dataclass(frozen=True, slots=True)
class Kept:
    """An object: its bytes, and the headers with which it is returned."""

    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    key_id: str | None  # whose signature it was


@dataclass
class VerifyingS3:
    """`secrets` are the secret keys by key id, each with the session token that has to come along, if any.

    `trouble` are answers to the next requests; `damage` is what happens to a body on its way here. `checks_sums` and
    `repeats_sums`: not every store like S3 compares checksums, nor says that it has one.
    """

    url: str = ""
    secrets: dict[str, tuple[str, str | None]] = field(default_factory=lambda: {"test": ("test", None)})
    expired: set[str] = field(default_factory=set)
    buckets: dict[str, dict[str, Kept]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    answered: list[Answer] = field(default_factory=list)
    trouble: list[Answer] = field(default_factory=list)
    damage: Callable[[bytes], bytes] = lambda body: body
    checks_sums: bool = True
    repeats_sums: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def methods(self) -> Counter[str]:
        """How many requests there were of each method."""
        return Counter(each.method for each in self.asked)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a request of S3's."""
        with self._lock:
            signed = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
            self.asked.append(Asked(method, path, headers, signed["key"] if signed else None))
            if self.trouble:
                answer = self.trouble.pop(0)
            else:
                body = self.damage(body)
                refusal = self._refused_login(signed, method, path, headers) or self._refused_sums(headers, body)
                answer = refusal or self._do(method, path, headers, body)
            self.answered.append(answer)
            return answer

    def _refused_login(
        self, signed: re.Match[str] | None, method: str, path: str, headers: dict[str, str]
    ) -> Answer | None:
        if signed is None:
            return error(403, "AccessDenied", "Requests are to be signed")
        if signed["key"] in self.expired:
            return error(400, "ExpiredToken", "The provided token has expired.")
        secret, token = self.secrets.get(signed["key"], ("", None))
        if not secret or headers.get("x-amz-security-token") != token:
            return error(403, "InvalidAccessKeyId", f"No such key: {signed['key']}")
        if _signature(signed, secret, method, path, headers) != signed["signature"]:
            return error(403, "SignatureDoesNotMatch", f"Not signed with {secret}")
        return None

    def _refused_sums(self, headers: dict[str, str], body: bytes) -> Answer | None:
        if not self.checks_sums:
            return None
        payload = headers.get("x-amz-content-sha256", "")
        if payload not in _UNSIGNED and payload != hashlib.sha256(body).hexdigest():
            return error(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match")
        for name, checksum in _CHECKSUMS.items():
            if name in headers and base64.b64decode(headers[name]) != checksum(body):
                return error(400, "BadDigest", f"The {name} you specified did not match the calculated checksum.")
        return None

    def _do(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        url = urlsplit(path)
        name, _, key = url.path.removeprefix("/").partition("/")
        key, query = unquote(key), parse_qs(url.query, keep_blank_values=True)
        bucket = self.buckets.get(unquote(name))
        if bucket is None:
            return error(404, "NoSuchBucket", "The specified bucket does not exist")
        match method:
            case "PUT":
                bucket[key] = Kept(body, {name: value for name, value in headers.items() if _is_kept(name)})
                return Answer(200, headers={"ETag": _etag(body), **self._repeated(bucket[key])})
            case "GET" if not key:
                return _listing(bucket, query)
            case "GET" | "HEAD" if key in bucket:
                return self._read(bucket[key], headers)
            case "GET" | "HEAD":
                return error(404, "NoSuchKey", "The specified key does not exist.")
            case _:
                return error(501, "NotImplemented", method)

    def _read(self, kept: Kept, headers: Mapping[str, str]) -> Answer:
        if headers.get("if-match", _etag(kept.data)).strip('"') != _etag(kept.data).strip('"'):
            return error(412, "PreconditionFailed", "At least one of the preconditions you specified did not hold.")
        said = {name: value for name, value in kept.headers.items() if not name.startswith("x-amz-checksum-")}
        said |= {"ETag": _etag(kept.data), "Last-Modified": "Mon, 30 Nov 2026 12:00:00 GMT"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if wanted is None:
            sums = self._repeated(kept) if headers.get("x-amz-checksum-mode") == "ENABLED" else {}
            return Answer(200, kept.data, said | sums)
        first, last = int(wanted[1]), int(wanted[2] or len(kept.data))
        if first >= len(kept.data):
            return error(416, "InvalidRange", "The requested range is not satisfiable")
        part = kept.data[first : last + 1]
        return Answer(206, part, said | {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(kept.data)}"})

    def _repeated(self, kept: Kept) -> dict[str, str]:
        sums = {name: value for name, value in kept.headers.items() if name.startswith("x-amz-checksum-")}
        return sums if self.repeats_sums else {}


@contextmanager
def verifying_s3(*buckets: str) -> Iterator[VerifyingS3]:
    """Serve a new one with these buckets."""
    s3 = VerifyingS3(buckets={name: {} for name in buckets})
    with serving(s3.answer) as s3.url:
        yield s3


def error(status: int, code: str, message: str, more: str = "") -> Answer:
    """Return an error as S3 words it."""
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{more}</Error>"
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def _signature(signed: re.Match[str], secret: str, method: str, path: str, headers: Mapping[str, str]) -> str:
    """Return what botocore would sign it with."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    class Auth(S3SigV4Auth):
        def payload(self, _request: Any) -> Any:
            return headers.get("x-amz-content-sha256")

    named = {name: headers.get(name, "") for name in signed["signed"].split(";")}
    request = AWSRequest(method, f"http://{headers['host']}{path}", headers=named)
    request.context["timestamp"] = headers.get("x-amz-date", "")
    auth = Auth(Credentials(signed["key"], secret), "s3", signed["region"])
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def _is_kept(name: str) -> bool:
    return name in _KEPT or name.startswith(("x-amz-meta-", "x-amz-checksum-"))


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _listing(bucket: Mapping[str, Kept], query: Mapping[str, list[str]]) -> Answer:
    def asked(name: str) -> str:
        return query.get(name, [""])[0]

    keys = [key for key in sorted(bucket, key=str.encode) if key.startswith(asked("prefix"))]
    keys = [key for key in keys if key.encode() > asked("start-after").encode()]
    limit = int(asked("max-keys") or 1000)
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(bucket[key].data)}</Size><ETag>{_etag(bucket[key].data)}</ETag>"
        "<LastModified>2026-11-30T12:00:00Z</LastModified></Contents>"
        for key in keys[:limit]
    )
    text = f"<IsTruncated>{str(len(keys) > limit).lower()}</IsTruncated>{contents}"
    return Answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())
