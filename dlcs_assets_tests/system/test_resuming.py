"""A request that was interrupted continues where it was; that a service was down costs no attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from dlcs_assets.defs import tags
from dlcs_assets.domain.stages import Stage
from dlcs_testing.harness import System
from dlcs_testing.pictures import jpeg

DEFAULT = "iiif-img:default,thumbs:default"
PAGE = "2/1/page"


def interrupted(system: System, channels: str) -> None:
    """Ingest a page while the image server is down, up to the first run's end."""
    system.image_server.stop()
    system.ingest_once(PAGE, system.serve("page.jpg", jpeg(120, 90)), channels)


def test_an_image_waiting_for_a_service_uses_up_no_attempt(system: System) -> None:
    """It stays pending however often it becomes due while the service is down."""
    interrupted(system, DEFAULT)
    (run,) = system.runs
    assert run.is_success
    status = system.status(PAGE)
    assert (status.state, status.attempts, status.error_code) == ("pending", 0, "image_server_down")
    assert status.error_stage == "thumbnails"
    assert system.partition(PAGE) == ("materialized", "materialized", "missing")
    for _ in range(system.settings.attempts + 1):
        system.tick("due_images")
    assert (system.status(PAGE).state, system.status(PAGE).attempts) == ("pending", 0)


def test_the_sensor_says_what_waits_and_why(system: System) -> None:
    system.use(attempt_delay=timedelta(minutes=5))
    interrupted(system, DEFAULT)
    assert "1 after image_server_down" in system.skip_reason("due_images")


@pytest.mark.parametrize(
    ("channels", "fetches", "conversions"),
    [(DEFAULT, 1, 1), ("iiif-img:use-original,thumbs:default", 1, 0), ("file,thumbs:default", 1, 0)],
)
def test_once_the_service_is_back_only_what_is_missing_is_done(
    system: System, channels: str, fetches: int, conversions: int
) -> None:
    interrupted(system, channels)
    system.image_server.start()
    system.settle()
    assert system.status(PAGE).state == "done"
    assert len(system.origin.asked) == fetches
    assert system.appetiser.count("POST") == conversions
    assert system.partition(PAGE) == ("materialized",) * 3
    assert set(system.thumbs()) == {f"{PAGE}/open/120.jpg", f"{PAGE}/open/100.jpg", f"{PAGE}/s.json"}


def test_outcomes_are_reported_again_by_the_run_that_resumes(system: System) -> None:
    """Dagster counts a partition of a red run as failed unless that very run reports it."""
    interrupted(system, DEFAULT)
    system.image_server.start()
    system.image_server.refusing["/full/"] = (403, "Too many pixels")
    system.settle()
    assert system.runs[-1].is_failure
    assert system.partition(PAGE) == ("materialized", "materialized", "failed")
    assert len(system.origin.asked) == 1


def test_outcomes_are_reported_even_if_the_resuming_run_dies(system: System) -> None:
    """The sensor reconcile reports what that run was to report again."""
    interrupted(system, DEFAULT)
    result = system.evaluate("due_images")
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or ()
    run_id = system.begin(request)
    assert system.ledger.claims.claim_chunk(request.tags[tags.CHUNK], run_id, now=datetime.now(UTC))
    system.end_dead(run_id)
    assert system.partition(PAGE) == ("failed",) * 3

    system.tick("reconcile")

    assert system.partition(PAGE) == ("materialized", "materialized", "failed")
    assert "reported" not in system.skip_reason("reconcile")


def test_a_resumed_run_stores_and_removes_a_transient_original(system: System) -> None:
    """It is stored only while the image server reads it."""
    interrupted(system, "thumbs:default")
    assert system.storage() == {}, "the transient object goes with the run that put it there"
    system.image_server.start()
    system.settle()
    assert system.status(PAGE).state == "done"
    assert system.storage() == {}
    assert system.status(PAGE).objects
    assert not any(record.key.startswith("transient/") for record in system.status(PAGE).objects)


def test_a_transient_original_that_s3_kept_is_deleted_later(system: System) -> None:
    """Until S3 answers again the sensor says why not."""
    system.use(s3_endpoint_url=system.s3_proxy.url)
    system.s3_proxy.refusing["<Key>transient/"] = (403, "no")
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), "thumbs:default", mediaType="image/jpeg")
    assert system.status(PAGE).state == "done"
    assert "Transient objects stay for now: " in system.skip_reason("reconcile")
    system.s3_proxy.refusing.clear()
    assert system.skip_reason("reconcile") == "1 transient objects deleted that runs had left"
    assert system.storage() == {}
    assert system.skip_reason("reconcile") == "All is well"


def test_an_image_waiting_for_appetiser_is_done_by_the_next_run(system: System) -> None:
    """The original stays materialised, the next run converts it, and nothing is left in scratch."""
    system.appetiser.stop()
    system.ingest_once(PAGE, system.serve("page.jpg", jpeg(120, 90)), DEFAULT)
    assert system.status(PAGE).error_code == "appetiser_down"
    assert system.partition(PAGE) == ("materialized", "missing", "missing")
    system.appetiser.start()
    system.settle()
    assert system.status(PAGE).state == "done"
    assert system.metadata(PAGE, Stage.JP2)["outcome"] == "converted"
    assert system.left_in_scratch() == []
