"""Images reprocessed by the job that a person launches from the launchpad."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from dlcs_assets.domain.stages import Stage
from dlcs_testing.harness import System
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    return make_system(customers=(2, 12), default_thumbnail_sizes=("!20,20",))


def ingest_small(system: System, *images: str) -> None:
    url = system.serve("page.jpg", jpeg(90, 60))
    system.send(*(full_message(image, url) for image in images))
    system.settle()
    assert set(system.states().values()) == {"done"}


def test_the_job_reports_an_estimate_before_it_reprocesses(system: System) -> None:
    """Unless its config says otherwise, it is a dry run and makes no request."""
    ingest_small(system, "2/1/a", "2/2/b", "12/1/c")
    config = {"customer": 2, "space": 1, "stage": "JP2"}
    dry = system.execute_job("reprocess_images", "request_reprocessing", config)
    assert "1 image would be reprocessed: 1 jp2, 1 thumbnails." in system.log_of(dry)
    assert system.settle() == []
    system.execute_job("reprocess_images", "request_reprocessing", {**config, "dry_run": False})
    (run,) = system.settle()
    assert run.tags["dlcs/customer"] == "2"
    events = system.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    made = {event.dagster_event.asset_key for event in events if event.dagster_event}
    assert made == {system.catalog.asset(Stage.JP2), system.catalog.asset(Stage.THUMBNAILS)}


def test_a_backfill_that_matches_nothing_says_so(system: System) -> None:
    ingest_small(system, "2/1/a")
    run = system.execute_job("reprocess_images", "request_reprocessing", {"customer": 2, "space": 7})
    assert "No images match" in system.log_of(run)
