"""The same images by a plain program: what a good engineer would write for these services alone, in an afternoon.

    python -m bench.independent_loop < job.json

It shares no code with the system. It makes the calls that the result needs: what is stored is what the system stores,
under the same keys. It checks nothing, repeats nothing, and remembers nothing: that is what the system is for.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import obstore
import urllib3  # noqa: TID253 (nothing else imports this module)
from obstore.store import S3Store


@dataclass(frozen=True)
class Job:
    """Where everything is. `in_flight`: images at a time; `sizes`: IIIF sizes that name their longest edge."""

    s3: str
    queue: str
    messages: int
    appetiser: str
    image_server: str
    scratch: str
    in_flight: int
    storage_bucket: str
    thumbs_bucket: str
    sizes: Sequence[str]
    region: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


class Loop:
    """What all images have in common: connections, and nothing else."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._http = urllib3.PoolManager(maxsize=64, retries=False)
        self._stores: dict[str, S3Store] = {}

    def ingest(self, message: Mapping[str, Any]) -> None:
        """Take an image from its origin to its last thumbnail."""
        asset, job = message["asset"], self._job
        image, origin = asset["id"], asset["origin"]
        policies = {channel["channel"]: channel["policy"] for channel in asset["deliveryChannels"]}
        source = f"s3://{job.storage_bucket}/{image}"
        if "iiif-img" not in policies:
            source = origin  # in a bucket that the image server may read
        elif policies["iiif-img"] == "use-original":
            source += "/original"
            self._put(job.storage_bucket, f"{image}/original", self._get(origin), "image/jpeg")
        elif origin.endswith(".jp2"):
            self._put(job.storage_bucket, image, self._get(origin), "image/jp2")
        else:
            self._put(job.storage_bucket, image, self._convert(image, origin), "image/jp2")
        self._thumbnails(image, source)

    def _get(self, origin: str) -> bytes:
        parts = urlsplit(origin)
        if parts.scheme == "s3":
            return bytes(obstore.get(self._store(parts.netloc), parts.path.lstrip("/")).bytes())
        answer = self._http.request("GET", origin)
        assert answer.status == 200, answer.status
        return answer.data

    def _put(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        obstore.put(self._store(bucket), key, data, attributes={"Content-Type": content_type}, use_multipart=False)

    def _convert(self, image: str, origin: str) -> bytes:
        with tempfile.TemporaryDirectory(dir=self._job.scratch) as folder:
            page, jp2 = Path(folder, "page.jpg"), Path(folder, "page.jp2")
            page.write_bytes(self._get(origin))
            asked = {
                "jobId": Path(folder).name,
                "imageId": image,
                "origin": origin,
                "operation": "image-only",
                "optimisation": "kdu_max",
                "source": str(page),
                "destination": str(jp2),
                "thumbIIIFSizes": [],
            }
            answer = self._http.request("POST", f"{self._job.appetiser}/convert", json=asked)
            assert answer.status == 200, answer.data
            return jp2.read_bytes()

    def _thumbnails(self, image: str, source: str) -> None:
        made = []
        for size in self._job.sizes:
            url = f"{self._job.image_server}/iiif/3/{quote(source, safe='')}/full/{size}/0/default.jpg"
            answer = self._http.request("GET", url)
            if answer.status == 400:
                continue  # it would enlarge the image
            assert answer.status == 200, answer.data
            width, height = _pixels(answer.data)
            key = f"{image}/open/{max(width, height)}.jpg"
            self._put(self._job.thumbs_bucket, key, answer.data, "image/jpeg")
            made.append((width, height))
        made.sort(key=max, reverse=True)
        sizes = json.dumps({"o": made, "a": []}, separators=(",", ":")).encode()
        self._put(self._job.thumbs_bucket, f"{image}/s.json", sizes, "application/json")

    def _store(self, bucket: str) -> S3Store:
        if bucket not in self._stores:
            self._stores[bucket] = S3Store(
                bucket,
                endpoint=self._job.s3,
                access_key_id=self._job.access_key_id,
                secret_access_key=self._job.secret_access_key,
                region=self._job.region,
                virtual_hosted_style_request=False,
                client_options={"allow_http": True},
            )
        return self._stores[bucket]


def _pixels(jpeg: bytes) -> tuple[int, int]:
    """Return width and height, from the marker that has them."""
    at = 2
    while jpeg[at + 1] not in {0xC0, 0xC1, 0xC2}:
        at += 2 + int(struct.unpack(">H", jpeg[at + 2 : at + 4])[0])
    height, width = struct.unpack(">HH", jpeg[at + 5 : at + 9])
    return width, height


def main() -> None:
    import boto3

    job = Job(**json.load(sys.stdin))
    loop, sqs = Loop(job), boto3.client("sqs", endpoint_url=job.s3, region_name=job.region)
    began, before = time.monotonic(), _used()
    received: list[dict[str, Any]] = []
    while len(received) < job.messages:
        some = sqs.receive_message(QueueUrl=job.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        received += [json.loads(each["Body"]) for each in some]
        handles: Any = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(some)]
        if handles:
            sqs.delete_message_batch(QueueUrl=job.queue, Entries=handles)
    with ThreadPoolExecutor(job.in_flight) as threads:
        list(threads.map(loop.ingest, received))
    json.dump({"seconds": time.monotonic() - began, "processor_seconds": _used() - before}, sys.stdout)


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
