"""Customers that compete: neither one's backlog nor its backfill makes another's arrivals wait."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from dlcs_assets.domain.ingest_request import IngestMessage, parse_message
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.messages import deliver
from dlcs_assets.ledger.records import InboxMessage
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg

MAY_COMPETE = ("sqs_ingest", "due_images", "backfills")
LIMITS = """
customers:
  2: {}
  12: {runs_in_flight: 3}
"""


@pytest.fixture
def competing(make_system: Callable[..., System]) -> System:
    """Return a system in which customer 2 has as many runs in flight as it may, and 40 more images in its backfill."""
    system = make_system(chunk_size=10)
    ask(system, 2, 60, Lane.BACKFILL)
    ask(system, 2, 40, Lane.INGEST)
    requests = [request for name in ("backfills", "sqs_ingest") for request in run_requests(system, name)]
    for request in requests:
        begin(system, request)
    assert Counter(lanes_of(requests)) == {Lane.BACKFILL: 2, Lane.INGEST: 4}
    return system


def ask(system: System, customer: int, count: int, lane: Lane, *, batch: int | None = None) -> list[str]:
    """Write messages of a customer into the ledger as if a queue had had them; return their images."""
    url = system.serve("page.jpg", jpeg(120, 90))
    images = [f"{customer}/1/{lane}-{number}" for number in range(count)]
    bodies = [json.dumps(full_message(image, url, "file", batch=batch)) for image in images]
    parsed = [(body, parse_message(body)) for body in bodies]
    inbox = [
        InboxMessage(uuid.uuid4().hex, "queue", lane, body, message)
        for body, message in parsed
        if isinstance(message, IngestMessage)
    ]
    assert deliver(inbox, system.queues, system.ledger, system.settings).count.accepted == count
    return images


def run_requests(system: System, name: str) -> list[dg.RunRequest]:
    result = system.evaluate(name)
    return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []


def begin(system: System, request: dg.RunRequest) -> str:
    """Let the run of a request claim its images, and then take its time."""
    run_id = system.begin(request)
    claim = system.ledger.claims.claim_chunk(str(request.run_key), run_id, now=datetime.now(UTC))
    assert claim is not None
    return run_id


def chunk_sizes(system: System) -> list[int]:
    """Return how many images the chunks of the lane `ingest` have whose runs have not begun."""
    return [len(chunk.images) for chunk in system.ledger.dispatch.unlaunched([Lane.INGEST])]


def lanes_of(requests: list[dg.RunRequest]) -> list[str]:
    return [request.tags["dlcs/lane"] for request in requests]


def in_flight(system: System) -> Counter[int]:
    """Count the runs in flight of each customer, less those of its priority images."""
    counted: Counter[int] = Counter()
    for (lane, customer), count in system.ledger.dispatch.in_flight().items():
        counted[customer] += count if lane is not Lane.PRIORITY else 0
    return counted


def test_few_images_are_launched_next_to_a_large_backlog(
    competing: System,
) -> None:
    """The next tick launches them, however many images another customer has in progress."""
    url = competing.serve("page.jpg", jpeg(120, 90))
    images = [f"12/1/page-{number}" for number in range(5)]
    competing.send(*(full_message(image, url, "file") for image in images))
    (run,) = competing.tick("sqs_ingest").runs
    assert run.is_success
    assert run.tags["dlcs/customer"] == "12"
    assert competing.states(customer=12) == dict.fromkeys(images, "done")
    assert Counter(competing.states(customer=2).values()) == {"running": 60, "pending": 40}


def test_customers_share_free_runs_whatever_the_age_of_requests(competing: System) -> None:
    """By the age of the requests alone, the backlog of customer 2 would come first for hours."""
    for run in competing.instance.get_runs(dg.RunsFilter(tags={"dlcs/lane": Lane.INGEST.value})):
        competing.end_dead(run.run_id)
    assert competing.skip_reason("reconcile").startswith("4 lost runs ended")
    ask(competing, 12, 30, Lane.RETRY)  # after the 40 of customer 2, which are due again in this lane
    requests = run_requests(competing, "due_images")
    assert Counter(request.tags["dlcs/customer"] for request in requests) == {"2": 2, "12": 2}


def test_a_backfill_has_few_runs_and_comes_last_in_the_queue(competing: System) -> None:
    """Its lane has a limit of its own, and its runs have a lower priority than those of any ingest."""
    assert "2 runs of this lane are in flight already (DLCS_BACKFILL_RUNS)" in competing.skip_reason("backfills")
    ask(competing, 12, 20, Lane.BACKFILL)
    assert competing.tick("backfills").runs == ()
    runs = competing.instance.get_runs()
    priorities: dict[str, list[int]] = {}
    for run in runs:
        priorities.setdefault(run.tags["dlcs/lane"], []).append(int(run.tags["dagster/priority"]))
    assert max(priorities[Lane.BACKFILL]) < min(priorities[Lane.INGEST])


def test_an_only_run_goes_before_the_second_one_of_another(competing: System) -> None:
    """The priority of a run depends on how many runs of its customer are in flight."""
    ask(competing, 12, 5, Lane.INGEST)
    (request,) = run_requests(competing, "sqs_ingest")
    ingests = competing.instance.get_runs(dg.RunsFilter(tags={"dlcs/customer": "2", "dlcs/lane": Lane.INGEST.value}))
    earlier = sorted(int(run.tags["dagster/priority"]) for run in ingests)
    assert int(request.tags["dagster/priority"]) == earlier[-1] > earlier[-2]


def test_backfills_of_two_customers_share_the_lane(make_system: Callable[..., System]) -> None:
    system = make_system(chunk_size=1, backfill_runs=1)
    for customer in (2, 12):
        ask(system, customer, 3, Lane.BACKFILL)
    ran = [run.tags["dlcs/customer"] for _ in range(6) for run in system.tick("backfills").runs]
    assert ran == ["2", "12"] * 3
    assert set(system.states().values()) == {"done"}


def test_runs_of_a_backfill_say_whose_they_are(make_system: Callable[..., System]) -> None:
    system = make_system()
    ask(system, 2, 3, Lane.BACKFILL, batch=7)
    (run,) = system.tick("backfills").runs
    names = ("customer", "space", "lane", "batch")
    assert [run.tags[f"dlcs/{name}"] for name in names] == ["2", "1", "backfill", "7"]


def test_the_limit_of_a_customer_holds_over_lanes_and_ticks(make_system: Callable[..., System], tmp_path: Path) -> None:
    """Each run that ends makes room for exactly one more."""
    file = tmp_path / "customers.yaml"
    file.write_text(LIMITS)
    system = make_system(customers_file=file, customer_runs=2, chunk_size=5, attempts=20)
    for customer in (2, 12):
        ask(system, customer, 40, Lane.INGEST)
        ask(system, customer, 20, Lane.BACKFILL)
        ask(system, customer, 20, Lane.RETRY)
    launched: Counter[str] = Counter()
    for _ in range(4):
        begun = [
            begin(system, request)
            for name in MAY_COMPETE
            for request in run_requests(system, name)
            if not launched.update([request.tags["dlcs/customer"]])
        ]
        assert in_flight(system) == {2: 2, 12: 3}
        system.end_dead(begun[0])
        system.skip_reason("reconcile")
    assert launched["2"] + launched["12"] == 5 + 3  # one for each that ended


def test_a_customer_at_its_limit_is_named_in_the_tick(make_system: Callable[..., System]) -> None:
    """Its priority images are launched nevertheless."""
    system = make_system(customer_runs=1, chunk_size=2)
    ask(system, 2, 4, Lane.INGEST)
    (request,) = run_requests(system, "sqs_ingest")
    begin(system, request)
    reason = system.skip_reason("sqs_ingest")
    assert reason.endswith(
        "customers with as many runs in flight as they may have (runs_in_flight, DLCS_CUSTOMER_RUNS): 2"
    )
    url = system.serve("page.jpg", jpeg(120, 90))
    system.send(full_message("2/1/urgent", url, "file"), queue=system.settings.priority_queue_url)
    assert [run.is_success for run in system.tick("sqs_priority").runs] == [True]


def test_an_image_of_a_backfill_that_arrives_is_ingested_once(make_system: Callable[..., System]) -> None:
    """It is done in the lane of the arrival, which is the more urgent one."""
    system = make_system()
    (image,) = ask(system, 2, 1, Lane.BACKFILL)
    ask(system, 2, 1, Lane.INGEST)
    system.send(full_message(image, f"{system.origin.url}/page.jpg", "file"))
    system.settle()
    assert (system.status(image).state, system.status(image).lane) == ("done", Lane.INGEST)
    assert len(system.origin.asked) == 2


def test_a_backlog_is_divided_among_the_runs_that_may_begin(make_system: Callable[..., System]) -> None:
    """Another customer has its first one in a full lane, with all that it has due."""
    system = make_system(chunks_in_flight=4)
    ask(system, 2, 100, Lane.INGEST)
    requests = run_requests(system, "sqs_ingest")
    assert len(requests) == 4
    assert chunk_sizes(system) == [25] * 4
    for request in requests:
        begin(system, request)
    ask(system, 12, 13, Lane.INGEST)
    assert len(run_requests(system, "sqs_ingest")) == 1
    assert chunk_sizes(system) == [13]


def test_a_large_backlog_fills_each_run_up_to_the_setting(make_system: Callable[..., System]) -> None:
    system = make_system(chunks_in_flight=2, chunk_size=30)
    ask(system, 2, 70, Lane.INGEST)
    assert len(run_requests(system, "sqs_ingest")) == 2
    assert chunk_sizes(system) == [30, 30]
