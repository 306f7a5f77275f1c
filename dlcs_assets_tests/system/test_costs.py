"""What an image costs, in numbers that do not depend on the machine: a change that makes them grow has to say why.

What they come to in time is measured in `bench/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import event

from dlcs_assets.clients.sqs import QueueMessage
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.messages import deliver, next_limit, read_message
from dlcs_assets_tests.system.running import running_system
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import drawing, encoded

IMAGES = 20
BACKLOG = 80
SIZES = 4
# Needed by some runs only, or by none: each takes a run's start a good part of a second, or its memory.
IMPORTED_WHERE_NEEDED = {
    "PIL",
    "cryptography",
    "jpylyzer",
    "moto",
    "numpy",
    "paramiko",
    "playwright",
    "prometheus_client",
    "starlette",
    "uvicorn",
}


@pytest.fixture(scope="module")
def system(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Ingest images that get a JP2 and thumbnails, in one chunk."""
    with running_system(services, tmp_path_factory.mktemp("costs"), chunks_in_flight=1) as system:
        system.use(s3_endpoint_url=system.s3_proxy.url)
        for number in range(IMAGES):
            data = encoded(drawing(480, 360, seed=number), quality=85)
            url = system.serve(f"{number}.jpg", data)
            system.send(
                full_message(f"2/1/{number:02}", url, "iiif-img:default,thumbs:default", mediaType="image/jpeg")
            )
        system.settle()
        yield system


def count_statements(system: System, asked: Counter[str]) -> None:
    @event.listens_for(system.ledger._database._engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked[statement.split(maxsplit=1)[0].upper() + (" IMMEDIATE" if "IMMEDIATE" in statement else "")] += 1


def test_all_went_in_one_run(system: System) -> None:
    assert len(system.runs) == 1
    assert set(system.states().values()) == {"done"}


def test_the_services_are_asked_no_more_than_is_needed(system: System) -> None:
    assert len(system.origin.asked) == IMAGES
    assert system.appetiser.count("POST") == IMAGES
    assert [each.path for each in system.image_server.asked if "/full/" not in each.path] == []
    assert system.image_server.count("GET", "/full/") == IMAGES * SIZES


def test_s3_is_asked_no_more_than_is_needed(system: System) -> None:
    methods = Counter(each.method for each in system.s3_proxy.asked)
    assert methods["PUT"] == IMAGES * (1 + SIZES + 1)  # the JP2, the thumbnails, s.json
    assert methods["GET"] == 2  # that nothing is stored of any of them, in either bucket
    assert methods.total() == 6 * IMAGES + 2


def test_what_is_stored_is_sent_once_and_nothing_of_it_read_back(system: System) -> None:
    stored = [*system.storage().values(), *system.thumbs().values()]
    size = sum(len(each.data) for each in stored)
    sent = sum(each.sent for each in system.s3_proxy.asked)
    assert size <= sent <= size + 200 * len(stored)  # boto3 adds a checksum to each body
    assert sum(system.s3_proxy.answered) <= 2000  # that nothing is there of an earlier ingest


def test_dagster_stores_few_events_for_each_image(system: System) -> None:
    """Two for each stage of an image, and a few for the run."""
    (run,) = system.runs
    stored = Counter(entry.dagster_event_type for entry in system.instance.all_logs(run.run_id))
    assert stored[dg.DagsterEventType.ASSET_MATERIALIZATION] == 3 * IMAGES
    assert stored[dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED] == 3 * IMAGES
    assert stored.total() <= 6 * IMAGES + 10


def test_much_of_a_backlog_goes_in_one_transaction(services: RunningStack, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    with running_system(services, tmp_path) as system:
        origin = "https://example.org/page.jpg"
        bodies = [json.dumps(full_message(f"2/1/{number}", origin)) for number in range(BACKLOG)]
        received = [QueueMessage(str(number), body, "receipt", None) for number, body in enumerate(bodies)]
        entries = [entry for each in received for entry in read_message(each, "images", Lane.INGEST, system.settings)]
        count_statements(system, asked)
        assert deliver(entries, system.queues, system.ledger, system.settings).count.accepted == BACKLOG
    assert asked["BEGIN IMMEDIATE"] == 1
    assert asked.total() <= 10


def test_what_is_asked_for_grows_with_a_backlog_only() -> None:
    assert next_limit(10, 10, seconds=0.1) == 20
    assert next_limit(40, 30, seconds=0.1) == 80
    assert next_limit(80, 80, seconds=0.1) == 80
    assert next_limit(80, 40, seconds=0.1) == 10  # it is nearly empty
    assert next_limit(20, 20, seconds=2) == 10  # it is slow


def test_a_run_process_imports_no_more_than_it_needs() -> None:
    """Every run pays for what the definitions import, in time and in memory."""
    program = "import json, sys; import dlcs_assets.definitions; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert len(loaded) < 1950
    assert {name.partition(".")[0] for name in loaded} & IMPORTED_WHERE_NEEDED == set()
