from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeVar

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.inbox import IntakePolicy
from dlcs_assets_tests.ledger.conftest import NOW, SCHEDULE, SELECT_ALL, Desk, end_chunk, numbered_message, result
from dlcs_testing.one_write import commit_stage, end_image

Result = TypeVar("Result")
WORKERS = 4
SPAWN = multiprocessing.get_context("spawn")


def at_once(url: str, work: Callable[[Ledger, int], Result]) -> list[Result]:
    """Do the work in several threads at the same moment, each with a ledger of its own, as processes have."""
    barrier = threading.Barrier(WORKERS)

    def worker(number: int) -> Result:
        try:
            ledger = Ledger(url)
        except BaseException:
            barrier.abort()  # the others would wait indefinitely
            raise
        try:
            barrier.wait()
            return work(ledger, number)
        finally:
            ledger.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(worker, range(WORKERS)))


def test_a_ledger_that_many_open_for_the_first_time_is_made_once(empty_url: str) -> None:
    """Every process of a deployment starts at once, and each finds an empty database."""
    start = SPAWN.Barrier(3)
    processes = [SPAWN.Process(target=open_and_close, args=(empty_url, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    ledger = Ledger(empty_url)
    assert Desk(ledger).send("2/1/a").accepted == 1
    ledger.close()


def test_threads_can_open_a_new_ledger_at_the_same_time(tmp_path: Path) -> None:
    """SQLite refuses to change a file's journal while another writes to it, whatever the busy timeout."""
    for number in range(10):
        url = f"sqlite:///{tmp_path / str(number)}"
        counts = at_once(url, lambda ledger, _: sum(ledger.reports.counts().values()))
        assert counts == [0] * WORKERS


def open_and_close(url: str, start: Barrier) -> None:
    start.wait()
    Ledger(url).close()


def test_a_message_taken_in_concurrently_is_accepted_once(url: str) -> None:
    """A message that SQS delivers twice at a time must not fail the intake, nor make two requests."""
    received = [numbered_message(number) for number in range(30)]
    orders = [received, received[::-1], received[10:] + received[:10], received[20:] + received[:20]]
    counts = at_once(url, lambda ledger, number: Desk(ledger).take_in(orders[number]))
    assert sum(count.accepted for count in counts) == 30
    assert sum(count.duplicates for count in counts) == 30 * (WORKERS - 1)


def test_concurrent_messages_for_an_image_leave_one_due_request(url: str) -> None:
    """Two open requests of one image would make two runs work on it."""
    at_once(url, lambda ledger, number: Desk(ledger).send("2/1/a", message_id=f"m{number}", batch=7))
    ledger = Ledger(url)
    assert len(ledger.dispatch.due([Lane.INGEST], limit=10, now=NOW)) == 1
    ledger.close()


def test_an_image_is_reserved_by_one_of_several_dispatchers(desk: Desk, url: str) -> None:
    """Two sensors that read the same due images must not both get them."""
    desk.take_in([numbered_message(number) for number in range(20)])
    chunks = at_once(url, lambda ledger, _: Desk(ledger).reserve())
    reserved = [image.request_id for chunk in chunks if chunk for image in chunk.images]
    assert len(reserved) == len(set(reserved)) == 20


def test_a_chunk_claimed_by_several_runs_at_once_belongs_to_one(desk: Desk, url: str) -> None:
    desk.take_in([numbered_message(number) for number in range(20)])
    chunk = desk.reserve()
    assert chunk is not None
    claimed = at_once(url, lambda ledger, number: ledger.claims.claim_chunk(chunk.id, f"run-{number}", now=NOW))
    assert [len(claim.items) for claim in claimed if claim] == [20]


def test_images_claimed_by_several_runs_at_once_are_held_by_one(desk: Desk, url: str) -> None:
    """Orders differ between the runs: with a lock for each image they would deadlock."""
    desk.take_in([numbered_message(number) for number in range(20)])
    ids = [AssetId(2, 1, f"image-{number:03}") for number in range(20)]
    orders = [ids, ids[::-1], ids[10:] + ids[:10], ids[5:] + ids[:5]]

    def claim(ledger: Ledger, number: int) -> list[AssetId]:
        claimed = ledger.claims.claim_images(orders[number], [Stage.JP2], f"run-{number}", now=NOW)
        assert len(claimed.items) + len(claimed.skipped) == 20
        return [item.asset_id for item in claimed.items]

    assert sorted(asset_id for held in at_once(url, claim) for asset_id in held) == ids


def test_a_lease_wanted_by_several_at_once_has_one_holder(url: str) -> None:
    all_workers = threading.Barrier(WORKERS)

    def take(ledger: Ledger, _: int) -> bool:
        with ledger.dispatch.lease("name") as held:
            all_workers.wait()
            return held

    assert sorted(at_once(url, take)) == [False] * (WORKERS - 1) + [True]


def serve(url: str, number: int, start: Barrier) -> None:
    """Do everything that the processes of a deployment do, until no image is left."""
    ledger = Ledger(url)
    desk = Desk(ledger)
    start.wait()
    for first in range(0, 60, 10):
        desk.take_in([numbered_message(n) for n in range(first, first + 10)])
        chunk = desk.reserve()
        claim = chunk and ledger.claims.claim_chunk(chunk.id, f"run-{number}-{first}", now=NOW)
        for item in claim.items if claim else ():
            assert claim
            commit_stage(ledger.results, claim, item, result(Stage.JP2, key=str(item.asset_id)), now=NOW)
            end_image(ledger.results, claim, item, None, schedule=SCHEDULE, now=NOW)
        if chunk:
            end_chunk(ledger, chunk)
    ledger.close()


def test_concurrent_processes_lose_nothing_and_do_nothing_twice(desk: Desk, url: str) -> None:
    """Three processes do intake, dispatch and work at once: each image is done, with one attempt and one object."""
    start = SPAWN.Barrier(3)
    processes = [SPAWN.Process(target=serve, args=(url, number, start)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = desk.ledger.reports.images(SELECT_ALL)
    assert [(status.state, status.attempts, len(status.objects)) for status in found] == [("done", 1, 1)] * 60


def die_while_writing(url: str) -> None:
    def check(asset_id: AssetId, _: Registration) -> None:
        if asset_id.asset == "image-003":
            os.kill(os.getpid(), signal.SIGKILL)

    received = [numbered_message(number) for number in range(5)]
    Ledger(url).inbox.take_in(received, policy=IntakePolicy(check, timedelta(minutes=10)), now=NOW)


def test_a_process_killed_in_a_transaction_leaves_no_trace(desk: Desk, url: str) -> None:
    """Neither half of its messages nor its lock may stay: the next process takes all of them in."""
    process = SPAWN.Process(target=die_while_writing, args=(url,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert desk.take_in([numbered_message(number) for number in range(5)]).accepted == 5
