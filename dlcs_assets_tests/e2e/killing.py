"""Killing or holding up a run in the middle of its images, and what must be true once all is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import Stage
from dlcs_stack.data_folder import read_state
from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.dagster_api import Run
from dlcs_testing.pictures import jpeg
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import System, full_message

DONE_IN_RUN = "SELECT count(*) FROM attempts WHERE run_id = ? AND result = 'done'"
FETCHED_IN_RUN = "SELECT count(*) FROM outcomes WHERE run_id = ? AND stage = 'original'"
NEWEST_REQUEST_ATTEMPTS = """SELECT result FROM attempts
    WHERE request_id = (SELECT max(id) FROM requests WHERE image_id = ?) ORDER BY number"""
CLAIMS = "SELECT count(*) FROM claims WHERE image_id LIKE ?"


def images_of(customer: int, space: int = 1) -> list[str]:
    """Name the images of a run to be killed. The last one needs no Appetiser."""
    return [*(f"{customer}/{space}/page-{number}" for number in range(5)), f"{customer}/{space}/stored"]


def send_images(system: System, images: Sequence[str]) -> None:
    """Ask for the ingest of images of a run to be killed."""
    *pages, stored = images
    origins = [system.upload(page, jpeg(400, 300)) for page in pages]
    kept = full_message(stored, system.upload(stored, jpeg(400, 300)), [{"channel": "file"}])
    # In one call, so that they come into one run.
    system.send(*(full_message(*each) for each in zip(pages, origins, strict=True)), kept)


@contextmanager
def appetiser_held_up(stack: RunningStack) -> Iterator[None]:
    """Let Appetiser answer nothing until the end of the context."""
    guard = psutil.Process(read_state(stack.data).services[Component.APPETISER])
    appetiser = guard.children(recursive=True)
    for process in appetiser:
        process.suspend()
    try:
        yield
    finally:
        for process in appetiser:
            process.resume()


@contextmanager
def run_held_up_by_appetiser(stack: RunningStack, system: System, images: Sequence[str]) -> Iterator[Run]:
    """Send pages of one customer, whose run waits for Appetiser until the end of the context."""
    with appetiser_held_up(stack):
        system.send_pages(images, width=400, height=300)
        customer = images[0].partition("/")[0]
        # What comes after the original waits for Appetiser.
        eventually(lambda: "materialized" in system.dagster.partitions(Stage.ORIGINAL, f"@{customer}/").values())
        (run,) = system.dagster.runs(customer=customer)
        yield run


def kill_in_the_middle(stack: RunningStack, system: System, find_run: Callable[[], Run | None]) -> Run:
    """Kill the process of a run, which waits for Appetiser, once an image of it is done and another begun.

    Return the run.
    """
    # Images wait while a service is found down, and another test may just have held one up.
    run = eventually(find_run, timeout=150)
    assert run is not None
    pid = eventually(lambda: system.dagster.pid(run.id))
    assert pid is not None
    guards = [psutil.Process(pid) for pid in read_state(stack.data).services.values()]
    assert pid in {child.pid for guard in guards for child in guard.children(recursive=True)}  # it is the stack's
    # The original of one more is fetched: it waits for Appetiser.
    eventually(lambda: [(0,)] < system.rows(DONE_IN_RUN, run.id) < system.rows(FETCHED_IN_RUN, run.id))
    os.kill(pid, signal.SIGKILL)
    return run


def check_recovered(stack: RunningStack, system: System, killed: Run, images: Sequence[str]) -> None:
    """Check that every image ends done and materialised, and that those done before are not worked on again."""
    ((done_before,),) = system.rows(DONE_IN_RUN, killed.id)
    assert 0 < done_before < len(images), "the kill came too late to show anything"
    system.await_end(images, timeout=150)  # a backfill's end is noticed by Dagster only twice a minute
    asset_id = AssetId.parse(images[0])
    prefix = f"{asset_id.customer}/{asset_id.space}/"
    system.await_materialized(f"@{prefix}", len(images))
    eventually(lambda: system.dagster.run(killed.id).status, lambda status: status == "FAILURE", timeout=120)

    attempts = [[result for (result,) in system.rows(NEWEST_REQUEST_ATTEMPTS, image)] for image in images]
    once, again = attempts.count(["done"]), attempts.count(["pending", "done"])
    assert once >= done_before
    # In progress when the process died; that is counted, so that an image that kills its run is not tried indefinitely.
    assert again > 0
    assert once + again == len(images)
    assert system.rows(CLAIMS, f"{prefix}%") == [(0,)]
    stack.check()
