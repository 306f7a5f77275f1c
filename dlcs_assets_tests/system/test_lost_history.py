"""Dagster's history is lost, with everything that it knew of runs and partitions; the ledger has the rest."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import dagster as dg

from dlcs_assets.defs import tags
from dlcs_assets.defs.ledgers import identity
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_testing.harness import System
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg

CHANNELS = "iiif-img:default,thumbs:default"


def test_work_continues_after_dagster_lost_its_history(system: System) -> None:
    """What a run held is done by another, nothing that was done is done again, and Dagster shows what is new."""
    system.ingest("2/1/done", system.serve("a.jpg", jpeg(120, 90)), CHANNELS)
    system.send(full_message("2/1/held", system.serve("b.jpg", jpeg(120, 90)), CHANNELS))
    (request,) = _requests(system)
    run_id = system.begin(request)
    assert system.ledger.claims.claim_chunk(request.tags[tags.CHUNK], run_id, now=datetime.now(UTC))
    system.send(full_message("2/1/waits", system.serve("c.jpg", jpeg(120, 90)), CHANNELS))
    with dg.DagsterInstance.ephemeral() as instance:
        system.instance = instance
        system.cursors.clear()
        began = time.monotonic()
        schedule = retry_schedule(system.settings)
        system.ledger.ownership.take_over(*identity(instance), schedule=schedule, now=datetime.now(UTC))
        system.settle()
        sys.stdout.write(f"Dagster's history lost, 3 images: {time.monotonic() - began:.1f} s\n")
        assert set(system.states().values()) == {"done"}
        assert system.status("2/1/done").attempts == 1
        assert system.status("2/1/held").attempts == 1  # the one that was lost does not count
        assert system.partitions(Stage.THUMBNAILS) == dict.fromkeys(("2/1/held", "2/1/waits"), "materialized")
        assert system.ledger.dispatch.in_flight() == {}


def _requests(system: System) -> list[dg.RunRequest]:
    result = system.evaluate("sqs_ingest")
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or ())
