"""Bombs between good images: how much longer the good ones take, and what all decoding processes hold together."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.result import Result
from bench.system import POLL_SECONDS, RunningSystem
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.ledger.reports import Selection
from dlcs_testing.bombs import Bomb, bombs
from dlcs_testing.memory import READERS, MemoryWatch

GOOD, BOMBS = 100, 60
GOAL_RATIO = 1.5
GOAL_MEGABYTES = 2000
DECODERS = (READERS, "dlcs_stack.appetiser", "dlcs_stack.image_server")
TIMEOUT_SECONDS = 900


def measure(system: RunningSystem, pages: list[Path], *, quick: bool) -> Iterator[Result]:
    good, rounds = (20, 1) if quick else (GOOD, 2)
    drawn = [bomb for bomb in bombs() if not bomb.encoding][:BOMBS]
    _ingest(system, pages, 900, 5, [])  # what is started once
    alone, with_bombs, peaks, failed = [], [], [], 0
    for number in range(rounds):
        alone.append(_ingest(system, pages, 910 + number, good, [])[0])
        with MemoryWatch(DECODERS) as watch:
            seconds, failed = _ingest(system, pages, 920 + number, good, drawn)
        with_bombs.append(seconds)
        peaks.append(watch.peak_megabytes)
    yield Result("bombs", "bombs_failed", failed, "images", len(drawn), at_least=True)
    yield Result("bombs", "ratio_to_no_bombs", round(sum(with_bombs) / sum(alone), 3), "x", GOAL_RATIO)
    yield Result("bombs", "peak_of_all_decoders", round(max(peaks)), "MB", GOAL_MEGABYTES)


def _ingest(
    system: RunningSystem, pages: Sequence[Path], customer: int, good: int, wanted: Sequence[Bomb]
) -> tuple[float, int]:
    """Ingest good images with bombs between them; return the seconds until they are done, and the bombs that failed."""
    images = []
    for number in range(good):
        image = f"{customer}/1/good-{number}"
        images.append((image, system.upload(pages[number % len(pages)], image)))
    for number, bomb in enumerate(wanted):
        image = f"{customer}/1/bomb-{number}"
        key = sent_key(AssetId.parse(image))
        system.s3.put_object(Bucket=system.settings.origin_bucket, Key=key, Body=bomb.draw())
        images.append((image, f"s3://{system.settings.origin_bucket}/{key}"))
    random.Random(customer).shuffle(images)
    began = time.monotonic()
    system.send(images)
    done_after = 0.0
    while time.monotonic() - began < TIMEOUT_SECONDS:
        counts = system.ledger.reports.counts(Selection(customer=customer))
        if counts["done"] >= good and not done_after:
            done_after = time.monotonic() - began
        if done_after and counts["failed"] + counts["done"] == len(images):
            return done_after, counts["failed"]
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"after {TIMEOUT_SECONDS} s: {counts}")
