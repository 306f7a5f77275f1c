"""What reads bytes from outside: each is read, or refused in the way that its reader promises. Anything else raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dlcs_assets.customers.config import parse_customers
from dlcs_assets.customers.fields import InvalidConfigError
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.ingest_request import IngestMessage, Registration, parse_message, register
from dlcs_assets.domain.manifest import read_manifest
from dlcs_assets.domain.media_type import sniff
from dlcs_assets.domain.modified import parse_modified
from dlcs_assets.domain.picture_limits import PictureLimits
from dlcs_assets.domain.thumbnails import read_sizes_json
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.reading import fingerprint, read_header
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.whole_system import IMAGE_CHANNELS, full_message

FULL: Final[dict[str, Any]] = {
    **full_message("2/1/page", "https://example.org/page.jpg", IMAGE_CHANNELS),
    "batch": {"id": 7, "count": 2},
    "created": "2026-05-04T12:00:00Z",
}
EVENT: Final = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-west-1",
            "eventTime": "2026-05-04T12:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": {"name": "uploads", "arn": "arn:aws:s3:::uploads"},
                "object": {"key": "2/1/a+b%2Fc.jpg", "size": 1024, "eTag": "00", "sequencer": "0055AED6DCD90281E5"},
            },
        }
    ]
}
BRIDGE: Final = {
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {
        "bucket": {"name": "uploads"},
        "object": {"key": "2/1/page.jpg", "size": 1, "etag": "00", "sequencer": "0"},
    },
}
DELETED: Final = {
    "asset": {"id": "2/1/page", "deliveryChannels": [{"channel": "thumbs"}]},
    "deleteFrom": ["cdn"],
}
UPDATED: Final = {"assetBeforeUpdate": {"id": "2/1/page"}, "assetAfterUpdate": {"id": "2/1/page", "roles": []}}
SIZES: Final = {"o": [[400, 300], [200, 150]], "a": [[1024, 768]]}
MANIFESTS: Final = (
    b'id,origin,deliveryChannels\n2/1/a,https://example.org/a.jpg,"iiif-img:default,thumbs"\n2/1/b,s3://b/k,file\n',
    b'{"id": "2/1/a", "origin": "https://example.org/a.jpg"}\n{"id": "2/1/b", "origin": "s3://b/k"}\n',
    b'[{"id": "2/1/a", "origin": "https://example.org/a.jpg", "roles": ["x"]}]',
)
CUSTOMERS: Final = (Path(__file__).parents[2] / "dlcs.example.yaml").read_bytes()
REFUSED: Final = frozenset(
    {
        *("not_an_image", "image_unreadable", "image_unsupported", "jp2_broken"),
        *("too_many_pixels", "too_many_parts", "too_few_bytes", "too_much_memory"),
    }
)


@dataclass(frozen=True)
class Reader:
    """`read` takes any bytes; `seeds` are some that it reads, from which others are made."""

    read: Callable[[bytes], object]
    seeds: Sequence[bytes]


def wrapped(value: Any) -> str:
    """Return a value as a notification of SNS has it."""
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:::t", "Message": json.dumps(value)})


def read_body(body: str) -> None:
    """Read a message of a queue of ours."""
    try:
        message = parse_message(body)
    except MessageRejectedError as error:
        _check(error)
        return
    if isinstance(message, IngestMessage) and message.asset is not None:
        try:
            registration = register(message.asset, None)
        except MessageRejectedError as error:
            _check(error)
            return
        assert Registration.of_json(json.loads(json.dumps(registration.to_json()))) == registration


def read_notification(body: str, attributes: dict[str, str]) -> None:
    """Read a message of the DLCS's topics."""
    try:
        parse_modified(body, attributes, None)
    except MessageRejectedError as error:
        _check(error)


def _check(error: MessageRejectedError) -> None:
    """Raise if a reason has no code, cause and remedy, or is without end."""
    assert error.code
    assert error.code.replace("_", "").isalnum()
    assert error.cause.strip()
    assert error.remedy.strip()
    assert len(error.cause) < 2000


def read_rows(data: bytes) -> None:
    """Read a manifest of `dlcs batch submit`."""
    manifest = read_manifest(data, customer=2, space=1)
    assert all(mistake.line >= 1 for mistake in manifest.mistakes)
    assert manifest.rows or manifest.mistakes


def read_customers(data: bytes) -> None:
    """Read the customers file."""
    try:
        parse_customers(data)
    except InvalidConfigError as error:
        assert error.problems
        assert all(problem.line >= 1 for problem in error.problems)


def read_sizes(text: str) -> None:
    """Read an `s.json`."""
    with suppress(ValueError):
        read_sizes_json(text)


def read_original(data: bytes) -> None:
    """Read an original as far as a run does before anything is made of it."""
    sniff(data)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "original"
        path.write_bytes(data)
        try:
            header = read_header(path, Gate(PictureLimits(pixels=1_000_000)))
            look = fingerprint(path)
        except PermanentError as error:
            assert error.code in REFUSED
            assert error.remedy
            return
    assert header.width >= 1
    assert look.levels


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _pictures(kind: str, **options: Any) -> list[bytes]:
    return [
        encoded(drawing(24, 18, mode=mode), kind, **options) for mode in ("RGB", "L", "P" if kind == "PNG" else "RGB")
    ]


READERS: Final = {
    "message": Reader(
        lambda data: read_body(_text(data)),
        [json.dumps(FULL).encode(), wrapped(FULL).encode(), json.dumps({"id": "2/1/page"}).encode()],
    ),
    "event": Reader(
        lambda data: read_body(_text(data)),
        [json.dumps(EVENT).encode(), json.dumps(BRIDGE).encode(), wrapped(EVENT).encode()],
    ),
    "notification": Reader(
        lambda data: read_notification(_text(data), {"modificationType": "Updated"}),
        [json.dumps(DELETED).encode(), json.dumps(UPDATED).encode(), wrapped(UPDATED).encode()],
    ),
    "manifest": Reader(read_rows, MANIFESTS),
    "customers": Reader(read_customers, [CUSTOMERS]),
    "sizes": Reader(lambda data: read_sizes(_text(data)), [json.dumps(SIZES).encode()]),
    "tiff": Reader(read_original, [*_pictures("TIFF"), *_pictures("TIFF", compression="tiff_lzw")]),
    "png": Reader(read_original, _pictures("PNG")),
    "jpeg": Reader(read_original, _pictures("JPEG")),
    "jp2": Reader(read_original, _pictures("JPEG2000")),
}
