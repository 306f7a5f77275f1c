"""Services that answer at once: S3, SQS, Appetiser and image server in one process, without any work on images.

    python -m bench.instant --jp2 page.jp2

What is left of the time that an image takes is then ours, and this process's own few milliseconds. Appetiser's JP2 is
always the one given; a thumbnail is a plain picture of the size that is asked for.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import io
import json
import re
import shutil
import sys
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from bench.queue_server import QueueServer, answer_of
from dlcs_assets.domain.iiif_size import InvalidSizeError, Size, parse_size, resolve
from dlcs_stack import aws
from dlcs_testing.http_serving import Answer, serving

QUEUES: Final = (aws.INGEST_QUEUE, aws.PRIORITY_QUEUE, aws.UPLOADS_QUEUE, aws.UPDATE_QUEUE, aws.DELETE_QUEUE)
LONG_AGO: Final = "2026-01-01T00:00:00.000Z"  # when all objects were written
_CHECKSUM: Final = "x-amz-checksum-sha256"
_KEY: Final = re.compile(r"<Key>(.*?)</Key>")


@dataclass(frozen=True, slots=True)
class Stored:
    """An object, and the headers that come back with it."""

    body: bytes
    headers: dict[str, str]


@dataclass
class ObjectServer:
    """S3 as far as ingest asks it: put, get (ranges, too), head, list, delete; by path, for any bucket."""

    objects: dict[str, Stored] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)  # in S3's order
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Do what is asked."""
        parts = urlsplit(target)
        path, query = unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
        if method == "PUT":
            return self._put(path, headers, body)
        if method == "DELETE":
            return self._delete([path])
        if method == "POST" and "delete" in query:
            return self._delete([f"{path.rstrip('/')}/{key}" for key in _KEY.findall(body.decode())])
        if "list-type" in query:
            prefix, after, limit = (query.get(name, [""])[0] for name in ("prefix", "start-after", "max-keys"))
            return self._list(path.strip("/"), prefix, after, int(limit or 1000))
        return self._get(path, headers)

    def _put(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        checksum = headers.get(_CHECKSUM)
        if checksum is not None and checksum != base64.b64encode(hashlib.sha256(body).digest()).decode():
            return _xml("<Error><Code>BadDigest</Code></Error>", 400)
        kept = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        kept["Content-Type"] = headers.get("content-type", "binary/octet-stream")
        kept["ETag"] = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        with self.lock:
            if path not in self.objects:
                bisect.insort(self.paths, path)
            self.objects[path] = Stored(body, kept)
        verified = {} if checksum is None else {_CHECKSUM: checksum}
        return Answer(200, b"", {"ETag": kept["ETag"], **verified})

    def _delete(self, paths: list[str]) -> Answer:
        with self.lock:
            for path in paths:
                if self.objects.pop(path, None) is not None:
                    del self.paths[bisect.bisect_left(self.paths, path)]
        return _xml("<DeleteResult/>")

    def _list(self, bucket: str, prefix: str, after: str, limit: int) -> Answer:
        start = f"/{bucket}/{prefix}"
        with self.lock:
            first = bisect.bisect_left(self.paths, start)
            if after:
                first = max(first, bisect.bisect_right(self.paths, f"/{bucket}/{after}"))
            last = bisect.bisect_left(self.paths, f"{start}\U0010ffff")
            found = [(path, self.objects[path]) for path in self.paths[first : min(last, first + limit)]]
        items = "".join(
            f"<Contents><Key>{escape(path.removeprefix(f'/{bucket}/'))}</Key><Size>{len(stored.body)}</Size>"
            f"<ETag>{escape(stored.headers['ETag'])}</ETag><LastModified>{LONG_AGO}</LastModified></Contents>"
            for path, stored in found
        )
        is_truncated = str(last > first + limit).lower()
        return _xml(
            f"<ListBucketResult><KeyCount>{len(found)}</KeyCount><IsTruncated>{is_truncated}</IsTruncated>{items}"
            "</ListBucketResult>"
        )

    def _get(self, path: str, headers: dict[str, str]) -> Answer:
        stored = self.objects.get(path)
        if stored is None:
            return _xml("<Error><Code>NoSuchKey</Code></Error>", 404)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if wanted is None:
            return Answer(200, stored.body, stored.headers)
        start, end = int(wanted[1]), int(wanted[2] or len(stored.body) - 1)
        content_range = f"bytes {start}-{min(end, len(stored.body) - 1)}/{len(stored.body)}"
        return Answer(206, stored.body[start : end + 1], {**stored.headers, "Content-Range": content_range})


@dataclass
class Instant:
    """All services at one address: they have no path in common."""

    jp2: Path
    size: tuple[int, int]
    queues: QueueServer = field(default_factory=QueueServer)
    objects: ObjectServer = field(default_factory=ObjectServer)

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Do what is asked."""
        if "x-amz-target" in headers:
            return answer_of(self.queues, headers, body)
        if target.startswith("/iiif/3/"):
            return self._thumbnail(target)
        if target in {"/ping", "/health"}:
            return Answer(200, b"{}")
        if target == "/convert":
            shutil.copyfile(self.jp2, json.loads(body)["destination"])
            width, height = self.size
            answer = {"width": width, "height": height, "thumbs": []}
            return Answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        return self.objects.answer(method, target, headers, body)

    def _thumbnail(self, target: str) -> Answer:
        try:
            size = resolve(parse_size(unquote(target).split("/")[-3]), Size(*self.size))
        except (InvalidSizeError, IndexError):
            size = None
        if size is None:
            return Answer(400, b"not a size")
        return Answer(200, _jpeg(self.jp2, size.width, size.height), {"Content-Type": "image/jpeg"})


def _xml(text: str, status: int = 200) -> Answer:
    return Answer(status, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), {"Content-Type": "application/xml"})


@cache
def _jpeg(jp2: Path, width: int, height: int) -> bytes:
    """Return the picture in this size: a run compares thumbnails with their source."""
    from PIL import Image

    data = io.BytesIO()
    with Image.open(jp2) as picture:
        picture.convert("RGB").resize((width, height)).save(data, "JPEG")
    return data.getvalue()


def main() -> None:
    """Serve until killed; say where, as a line of JSON."""
    from PIL import Image

    parser = argparse.ArgumentParser(prog="python -m bench.instant")
    parser.add_argument("--jp2", type=Path, required=True)
    arguments = parser.parse_args()
    with Image.open(arguments.jp2) as picture:
        instant = Instant(arguments.jp2, picture.size)
    with serving(instant.answer) as url:
        instant.queues.url = url
        for queue in QUEUES:
            instant.queues.answer("CreateQueue", {"QueueName": queue})
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
