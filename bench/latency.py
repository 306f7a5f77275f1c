"""One message into an idle system, to its first and its last thumbnail in S3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.result import Result, of_many
from bench.system import RunningSystem

GOAL = 8.0
CUSTOMER = 300
SETTLE_SECONDS = 6.3  # longer than a tick, and no multiple of it: messages arrive at all moments of it


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    page = min(pages, key=lambda path: path.stat().st_size)
    first: list[float] = []
    last: list[float] = []
    for number in range(2 if quick else 10):
        image = f"{CUSTOMER}/1/{number}"
        origin = system.upload(page, image)
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        system.send([(image, origin)])
        first.append(appears(system, f"{image}/open/") - began)
        last.append(appears(system, f"{image}/s.json") - began)
        system.wait(CUSTOMER, number + 1)
    yield of_many("latency", "seconds_to_first_thumbnail", first, "s", GOAL)
    yield of_many("latency", "seconds_to_s_json", last, "s")


def appears(system: RunningSystem, prefix: str, timeout: float = 120) -> float:
    """Return the moment at which an object with this prefix is in the thumbnail bucket."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = system.s3.list_objects_v2(Bucket=system.settings.thumbs_bucket, Prefix=prefix, MaxKeys=1)
        if found["KeyCount"]:
            return time.monotonic()
        time.sleep(0.02)
    raise TimeoutError(f"no {prefix} after {timeout} s")
