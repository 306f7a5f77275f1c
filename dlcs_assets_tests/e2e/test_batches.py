"""A batch with bad images, while its run and the daemon are killed: its numbers balance, and its end is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dlcs_assets.domain.batch import Batch
from dlcs_assets_tests.e2e.killing import appetiser_held_up, kill_in_the_middle
from dlcs_stack import aws
from dlcs_stack.stack import Component, RunningStack
from dlcs_testing.dagster_api import Run
from dlcs_testing.pictures import jpeg
from dlcs_testing.stack_processes import daemon
from dlcs_testing.waiting import eventually
from dlcs_testing.whole_system import IMAGE_CHANNELS, System, full_message

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CUSTOMER = 96
BATCH = 4711
COUNT = 60
LARGEST_CHUNK = """SELECT run_id FROM chunks JOIN chunk_images ON chunk_id = id
    WHERE customer = ? AND space = 1 AND run_id IS NOT NULL GROUP BY id HAVING count(*) > 5 ORDER BY id"""
LISTED = """SELECT (SELECT count(DISTINCT image_id) FROM requests WHERE customer = ?1 AND batch = ?2)
    + (SELECT count(*) FROM messages WHERE customer = ?1 AND batch = ?2 AND state = 'rejected')"""
DONE_TWICE = """SELECT request_id FROM attempts JOIN requests ON id = request_id
    WHERE customer = ? AND result = 'done' GROUP BY request_id HAVING count(*) > 1"""


def messages(system: System) -> Iterator[dict[str, Any]]:
    """Yield 54 good ones, and six that end as errors, among them."""
    page = system.upload(f"{CUSTOMER}/1/page", jpeg(400, 300))
    broken = system.upload(f"{CUSTOMER}/1/broken", b"not a picture")
    reference = {"batch": {"id": BATCH, "count": COUNT}}
    file = [{"channel": "file"}]
    wrong = [{"channel": "thumbs", "policy": "nope"}]
    yield full_message(f"{CUSTOMER}/1/wrong-1", page, wrong) | reference
    yield {"asset": {"origin": page}} | reference
    yield full_message(f"{CUSTOMER}/1/missing-1", f"{page}-missing") | reference
    for number in range(20):  # in each chunk is one that needs no Appetiser
        yield full_message(f"{CUSTOMER}/1/page-{number}", page, IMAGE_CHANNELS if number % 3 else file) | reference
    yield full_message(f"{CUSTOMER}/1/broken", broken) | reference
    for number in range(34):
        yield full_message(f"{CUSTOMER}/2/file-{number}", page, file) | reference
    yield full_message(f"{CUSTOMER}/1/missing-2", f"{page}-missing") | reference
    yield full_message(f"{CUSTOMER}/1/wrong-2", page, wrong) | reference


def look(system: System) -> Batch | None:
    """Look at the batch: it balances, and has neither lost an image nor made one up."""
    batches = system.ledger.batches  # which makes the ledger if there is none yet
    ((before,),) = system.rows(LISTED, CUSTOMER, BATCH)
    found = batches.find(BATCH, customer=CUSTOMER)
    ((after,),) = system.rows(LISTED, CUSTOMER, BATCH)
    if not found:
        return None
    tally = found[0].tally
    assert tally.listed == tally.done + tally.failed + tally.rejected + tally.pending + tally.running
    assert before <= tally.listed <= after <= COUNT
    return found[0]


def run_of_many(system: System) -> Run | None:
    found = system.rows(LARGEST_CHUNK, CUSTOMER)
    return system.dagster.run(found[0][0]) if found else None


def kill_daemon(stack: RunningStack) -> None:
    """Kill the process that evaluates the sensors, as if the machine had taken it away; then let it restart."""
    daemon(stack).kill()
    stack.stop(Component.DAEMON)


def published(system: System) -> list[str]:
    """Take what was published of this customer's batches."""
    url = aws.queue_url(system.environment["AWS_ENDPOINT_URL"], aws.BATCH_COMPLETED)
    bodies: list[str] = []
    while received := system.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        bodies += [str(message.get("Body")) for message in received]
    return [body for body in bodies if json.loads(body)["customer"] == CUSTOMER]


def test_a_batch_balances_and_is_reported_whatever_is_killed(stack: RunningStack, system: System) -> None:
    """A run and the daemon are killed; the counts add up whenever they are read."""
    waiting = list(messages(system))
    assert len(waiting) == COUNT
    with appetiser_held_up(stack):
        for start in range(0, COUNT, 10):
            system.send(*waiting[start : start + 10])
            look(system)
        killed = kill_in_the_middle(stack, system, lambda: run_of_many(system))
    in_progress = look(system)
    assert in_progress is not None
    assert in_progress.finished_at is None

    kill_daemon(stack)
    look(system)
    stack.start(Component.DAEMON)
    finished = eventually(
        lambda: look(system), lambda batch: batch is not None and bool(batch.finished_at), timeout=400
    )
    assert finished is not None
    assert (finished.tally.done, finished.tally.failed, finished.tally.rejected) == (54, 3, 3)
    eventually(lambda: system.dagster.run(killed.id).status, lambda status: status == "FAILURE", timeout=120)
    assert system.rows(DONE_TWICE, CUSTOMER) == []
    bodies = eventually(lambda: published(system))
    assert len(bodies) in {1, 2}
    assert len(set(bodies)) == 1
    body = json.loads(bodies[0])
    assert (body["count"], body["completed"], body["errors"]) == (COUNT, 54, 6)
    stack.check()
