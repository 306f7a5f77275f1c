"""One message into an idle system, to its first and its last thumbnail in S3."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
from sqlalchemy import text

from bench.result import Result, of_many, percentile_95
from bench.system import RunningSystem, running
from dlcs_assets.ledger.engine import make_engine

CASE = "limit"
GOAL = 2.0
CUSTOMER = 300
# The daemon begins ticks every five seconds: after less a system is not idle, and after a fixed time always in step.
SETTLE_SECONDS = (3.0, 5.0)
RECEIVED = """SELECT received_at, chunks.created_at, chunks.run_id
    FROM messages JOIN chunk_images USING (request_id) JOIN chunks ON chunks.id = chunk_id
    WHERE messages.image_id = :image"""


@dataclass(frozen=True)
class Message:
    """An image, and the moments (seconds since 1970) at which its message was sent and its thumbnails were there."""

    image: str
    sent: float
    first: float
    last: float


def measure_latency(pages: list[Path], *, quick: bool) -> Iterator[Result]:
    """Send one message after another, each into a system that has come to rest."""
    with running({}) as system:
        yield from _measured(system, pages, quick=quick)


def _measured(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    page = min(pages, key=lambda path: path.stat().st_size)
    dice = random.Random(1)
    seen = []
    for number in range(1 if quick else 30):
        image = f"{CUSTOMER}/1/{number}"
        origin = system.upload(page, image)
        time.sleep(dice.uniform(*SETTLE_SECONDS))
        sent = time.time()
        system.send([(image, origin)])
        seen.append(Message(image, sent, appears(system, f"{image}/open/"), appears(system, f"{image}/s.json")))
        system.wait(CUSTOMER, number + 1)
    parts = [_parts(system, message) for message in seen]
    whole = [message.last - message.sent for message in seen]
    yield of_many(CASE, "seconds_to_first_thumbnail", [each.first - each.sent for each in seen], "s")
    yield of_many(CASE, "seconds_to_last_thumbnail", whole, "s", GOAL)
    yield Result(CASE, "seconds_to_last_thumbnail_95_percent", round(percentile_95(whole), 3), "s")
    for name in parts[0]:
        yield of_many(CASE, f"of_which_{name}", [each[name] for each in parts], "s")


def _parts(system: RunningSystem, message: Message) -> dict[str, float]:
    """Return the seconds from each moment to the next, by what passed in between."""
    engine = make_engine(system.settings.ledger_url)
    with engine.connect() as connection:
        row = connection.execute(text(RECEIVED), {"image": message.image}).one()
    engine.dispose()
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        stats = instance.get_run_stats(row.run_id)
    moments = {
        "in_the_queue_of_messages": _seconds(row.received_at),
        "tick_until_dispatch": _seconds(row.created_at),
        "queue_of_runs": stats.launch_time,
        "start_of_the_process": stats.start_time,
        "work": message.last,
    }
    before = (message.sent, *moments.values())
    return {name: (at or 0.0) - (then or 0.0) for (name, at), then in zip(moments.items(), before, strict=False)}


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def appears(system: RunningSystem, prefix: str, timeout: float = 120) -> float:
    """Return the moment (seconds since 1970) at which an object with this prefix is in the thumbnail bucket."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = system.s3.list_objects_v2(Bucket=system.settings.thumbs_bucket, Prefix=prefix, MaxKeys=1)
        if found["KeyCount"]:
            return time.time()
        time.sleep(0.02)
    raise TimeoutError(f"no {prefix} after {timeout} s")
