"""The ledger of many processes over a network: images a second, with no work on them and no Dagster.

    python -m bench.ledger_alone --url URL     # a process of it: reads numbers of chunks, answers each when it is done

Each process does what a run does to the ledger: it claims a chunk, watches over its claim, commits three stages and
the end of each image, and notes that Dagster has them. Its messages to the database take half a millisecond each way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.processes import server
from bench.result import Result
from bench.scale_data import ask_again, fill_ledger, image_ids
from dlcs_assets.domain.errors import IngestError, PermanentError
from dlcs_assets.domain.partition_key import partition_key
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, WorkItem
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.ingest.guard import Guard
from dlcs_assets.ingest.heartbeat import Heartbeat
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.records import Chunk, RetrySchedule, new_id
from dlcs_assets.ledger.writer import LedgerWriter
from dlcs_assets.ledger.writes import AttemptEnd, StageCommit
from dlcs_testing import postgresql

CASE: Final = "limit"
PROCESSES: Final = 16
CHUNK: Final = 50
CHUNKS: Final = 4  # of each process
QUICK_PROCESSES: Final = 4
GOAL: Final = 300.0
ONE_WAY_SECONDS: Final = 0.0005
_SCHEDULE: Final = RetrySchedule(attempts=5, delay=timedelta(seconds=60))
_OUTCOMES: Final = {Stage.ORIGINAL: Outcome.FETCHED, Stage.JP2: Outcome.CONVERTED, Stage.THUMBNAILS: Outcome.MADE}
_SIZES: Final = (1024, 400, 200, 100)


def measure_ledger_alone(*, quick: bool) -> Iterator[Result]:
    """Let processes of their own write at once, through a relay that takes its time."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        return
    processes = QUICK_PROCESSES if quick else PROCESSES
    with postgresql.running(binaries) as database:
        url = database.new_database()
        chunks = _prepare(url, processes * (1 if quick else CHUNKS))
        with _slow(database) as port, ExitStack() as opened:
            over_network = (
                f"postgresql://{postgresql.ROLE}@127.0.0.1:{port}/{url.rpartition('?')[0].rpartition('/')[2]}"
            )
            started = [opened.enter_context(_started(over_network)) for _ in range(processes)]
            _answers(started)  # they are up
            began = time.monotonic()
            for number, each in enumerate(started):
                assert each.stdin is not None
                each.stdin.write(json.dumps(chunks[number::processes]) + "\n")
                each.stdin.flush()
            used = sum(float(answer["processor_seconds"]) for answer in _answers(started))
            seconds = time.monotonic() - began
        with closing(Ledger(url)) as ledger:
            counts = ledger.reports.counts()
    images = len(chunks) * CHUNK
    if counts["pending"] or counts["running"]:
        raise RuntimeError(f"not all images have ended: {counts}")
    yield Result(CASE, "ledger_images_per_second_at_1ms", round(images / seconds, 1), "/s", GOAL, at_least=True)
    yield Result(CASE, "ledger_alone_processor_ms_per_image", round(used * 1000 / images, 2), "ms")


def _prepare(url: str, count: int) -> list[str]:
    """Make that many chunks of registered images; return their ids."""
    images = image_ids(-(-count * CHUNK // 1000) * 1000)
    with closing(Ledger(url)) as ledger:
        ledger.reports.counts()  # makes the tables
        fill_ledger(url, images)
        ask_again(url, images[: count * CHUNK], Lane.INGEST)
        now = datetime.now(UTC)
        due = ledger.dispatch.due([Lane.INGEST], limit=len(images), now=now)
        planned = []
        for start in range(0, count * CHUNK, CHUNK):
            part = due[start : start + CHUNK]
            first, last = (partition_key(image.asset_id) for image in (part[0], part[-1]))
            planned.append(Chunk(new_id(), Lane.INGEST, 1, 1, frozenset(STAGES), first, last, tuple(part)))
        return [chunk.id for chunk in ledger.dispatch.reserve(planned, now)]


@contextmanager
def _slow(database: postgresql.Server) -> Iterator[int]:
    with server(
        "bench.slow_relay", "--socket", str(database.folder / ".s.PGSQL.5432"), "--seconds", str(ONE_WAY_SECONDS)
    ) as said:
        yield int(said["port"])


@contextmanager
def _started(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.ledger_alone", "--url", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _answers(started: Sequence[subprocess.Popen[str]]) -> list[dict[str, float]]:
    found = []
    for each in started:
        assert each.stdout is not None
        found.append(json.loads(each.stdout.readline()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger_alone")
    parser.add_argument("--url", required=True)
    with closing(Ledger(parser.parse_args().url)) as ledger:
        print(json.dumps({}), flush=True)
        before = time.process_time()
        for chunk_id in json.loads(sys.stdin.readline()):
            _work(ledger, chunk_id)
        print(json.dumps({"processor_seconds": time.process_time() - before}), flush=True)


def _work(ledger: Ledger, chunk_id: str) -> None:
    run_id = new_id()
    claim = ledger.claims.claim_chunk(chunk_id, run_id, now=datetime.now(UTC))
    assert claim is not None
    heartbeat, guard = Heartbeat(ledger, claim.token, timedelta(seconds=5)), Guard(ledger, claim.token)
    writer = LedgerWriter(ledger.results, claim, _failure)
    failed: list[Exception] = []

    def then(result: object) -> None:
        if isinstance(result, Exception):
            failed.append(result)

    for item in claim.items:
        guard.check(item.asset_id)
        for stage in STAGES:
            writer.add(item, StageCommit(item, _result(item, stage), datetime.now(UTC)), then)
        writer.add(item, AttemptEnd(item, None, _SCHEDULE, datetime.now(UTC)), then)
    writer.flush(None)
    ledger.results.mark_reported((item.asset_id, stage, item.request_id) for item in claim.items for stage in STAGES)
    ledger.claims.release(claim.token, run_id, schedule=_SCHEDULE, now=datetime.now(UTC), terminated=False)
    for part in (writer.close, guard.stop, heartbeat.stop):
        part(None)
    if failed:
        raise failed[0]


def _failure(error: Exception) -> IngestError:
    return PermanentError("internal_error", str(error), remedy="See the error.")


def _result(item: WorkItem, stage: Stage) -> StageResult:
    image = str(item.asset_id)
    stored: tuple[ObjectRecord, ...] = ()
    if stage is Stage.JP2:
        stored = (ObjectRecord("dlcs-storage", image, ObjectKind.JP2, 123_456, "0" * 64, "image/jp2"),)
    elif stage is Stage.THUMBNAILS:
        keys = [f"{image}/open/{size}.jpg" for size in _SIZES]
        stored = tuple(
            ObjectRecord("dlcs-thumbs", key, ObjectKind.THUMBNAIL, 1234, "0" * 64, "image/jpeg") for key in keys
        )
    facts = {"width": 4724, "height": 6211, "bytes": 12_345_678, "milliseconds": 2345, "sha256": "0" * 64}
    return StageResult(stage, _OUTCOMES[stage], "0" * 64, facts, stored)


if __name__ == "__main__":
    main()
