"""Bad images among good ones: each fails alone, at its stage, and is put right by one retry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ledger.records import new_id
from dlcs_assets.ledger.reports import Selection
from dlcs_testing.harness import System, full_message
from dlcs_testing.one_write import end_image
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.sample_tiff import unconvertible
from dlcs_testing.scripted_server import Answer

DEFAULT = "iiif-img:default,thumbs:default"
MISSING, UNCONVERTED, REFUSED = "2/1/page-004", "2/1/page-011", "2/1/page-017"
BAD = {MISSING, UNCONVERTED, REFUSED}
TOO_MANY_PIXELS = (403, "Too many pixels")


def send_pages(system: System, count: int, channels: str, width: int = 120, height: int = 90) -> list[str]:
    """Send pages: one is not at its origin, Appetiser refuses one, and the image server another."""
    images = [f"2/1/page-{number:03}" for number in range(count)]
    for number, image in enumerate(images):
        data = encoded(drawing(width, height, seed=number + 1), "JPEG")
        system.serve(image, unconvertible() if image == UNCONVERTED else data)
    system.serve(MISSING, b"", status=404)
    system.image_server.refusing[f"{REFUSED}/"] = TOO_MANY_PIXELS
    system.send(*(full_message(image, f"{system.origin.url}/{image}", channels) for image in images))
    return images


def put_right(system: System) -> None:
    for number, image in enumerate((MISSING, UNCONVERTED)):
        system.serve(image, jpeg(120 + number, 90))
    system.image_server.refusing.clear()


def retry(system: System, *images: str) -> None:
    asked = system.ledger.reports.retry(Selection(ids=images), now=datetime.now(UTC))
    assert sorted(asked) == sorted(images)


def in_state(system: System, stage: Stage, state: str) -> set[str]:
    return {image for image, found in system.partitions(stage).items() if found == state}


def test_three_bad_images_of_twenty_fail_each_at_its_own_stage(system: System) -> None:
    """The other images are done; once the causes are fixed, one run makes all three."""
    system.use(chunks_in_flight=1)
    images = set(send_pages(system, 20, DEFAULT))
    (run,) = system.settle()
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert {image for image, state in system.states().items() if state == "failed"} == BAD
    assert {image for image, state in system.states().items() if state == "done"} == images - BAD
    assert in_state(system, Stage.ORIGINAL, "failed") == {MISSING}
    assert in_state(system, Stage.JP2, "failed") == {MISSING, UNCONVERTED}
    assert in_state(system, Stage.THUMBNAILS, "failed") == BAD
    for stage in STAGES:
        assert in_state(system, stage, "materialized") == images - in_state(system, stage, "failed")
    codes = {image: (system.status(image).error_stage, system.status(image).error_code) for image in BAD}
    assert codes == {
        MISSING: ("original", "origin_not_found"),
        UNCONVERTED: ("jp2", "conversion_failed"),
        REFUSED: ("thumbnails", "thumbnail_too_many_pixels"),
    }

    said, table = system.failure_of(run)
    assert said == "3 of 20 images failed, 17 are done, 0 will be tried again."
    lines = table.splitlines()
    assert lines[0] == "image | stage | reason | what to do"
    assert {line.split(" | ")[0] for line in lines[1:]} == BAD
    assert all(line.count(" | ") == 3 and line.split(" | ")[3] for line in lines)

    stored = Counter(entry.dagster_event_type for entry in system.instance.all_logs(run.run_id))
    assert stored[dg.DagsterEventType.ASSET_OBSERVATION] == len(BAD)
    for image, (failed_stage, code) in codes.items():
        (why,) = system.observed(Stage(str(failed_stage)))[image]
        status = system.status(image)
        assert (why["code"], why["reason"], why["what to do"]) == (code, status.error_cause, status.error_remedy)

    put_right(system)
    retry(system, *BAD)
    (again,) = system.settle()
    assert again.is_success
    assert set(system.states().values()) == {"done"}
    for stage in STAGES:
        assert in_state(system, stage, "materialized") == images
    assert len(system.thumbs()) == 20 * 3  # of 120 x 90: its own size, 100 x 75, and s.json


def test_scattered_bad_images_are_retried_in_one_run(make_system: Callable[..., System]) -> None:
    """Their partition keys are not next to each other, and become one run's nevertheless."""
    system = make_system(chunk_size=20, chunks_in_flight=1, images_in_flight=16)
    images = set(send_pages(system, 20, "file", 64, 56))
    bad = {MISSING, "2/1/page-012", "2/1/page-018"}
    for image in bad:
        system.serve(image, b"", status=404)
    (run,) = system.settle()
    assert run.is_failure
    assert {image for image, state in system.states().items() if state == "failed"} == bad
    assert in_state(system, Stage.ORIGINAL, "failed") == bad

    for image in bad:
        system.serve(image, jpeg(64, 56))
    retry(system, *bad)
    (again,) = system.settle()
    assert again.is_success
    assert set(system.states().values()) == {"done"}
    for stage in STAGES:
        assert in_state(system, stage, "materialized") == images


def test_an_image_that_fails_after_a_success_shows_as_failed(system: System) -> None:
    """Its published objects are kept until there are better ones."""
    system.ingest("2/1/page", system.serve("page.jpg", jpeg(120, 90)), "thumbs:default")
    assert system.partition("2/1/page") == ("materialized",) * 3
    system.serve("page.jpg", b"", status=404)
    system.send({"id": "2/1/page"})
    system.settle()
    assert system.partition("2/1/page") == ("failed",) * 3
    assert system.status("2/1/page").state == "failed"
    assert system.status("2/1/page").objects, "what is published stays until there is something better"
    system.serve("page.jpg", jpeg(120, 90))
    retry(system, "2/1/page")
    system.settle()
    assert system.partition("2/1/page") == ("materialized",) * 3


def test_a_failure_that_no_run_reported_is_reported(system: System) -> None:
    """Its run is gone before it could; nor is anything said twice of one whose report the ledger only did not note."""
    system.ingest("2/1/page", system.serve("page.jpg", b"", status=404), "thumbs:default")
    (reported,) = system.observed(Stage.ORIGINAL)["2/1/page"]
    system.execute("UPDATE requests SET is_reported = 0")
    assert system.skip_reason("reconcile") == "All is well"
    assert system.observed(Stage.ORIGINAL)["2/1/page"] == [reported]

    claim = system.ledger.claims.claim_images([AssetId(2, 1, "page")], STAGES, new_id(), now=datetime.now(UTC))
    torn = PermanentError("torn", "It is torn", remedy="Send a whole one", stage=Stage.JP2)
    schedule = retry_schedule(system.settings)
    end_image(system.ledger.results, claim, claim.items[0], torn, schedule=schedule, now=datetime.now(UTC))
    assert "1 failures reported to Dagster" in system.skip_reason("reconcile")
    (why,) = system.observed(Stage.JP2)["2/1/page"]
    assert (why["code"], why["stage"], why["image"]) == ("torn", "jp2", "2/1/page")
    assert system.skip_reason("reconcile") == "All is well"


def test_a_transient_failure_is_retried_up_to_the_limit(system: System) -> None:
    """A run with only images that are to be retried succeeds; the run with the last attempt fails."""
    url = system.serve("page.jpg", b"", status=503)
    status = system.ingest("2/1/page", url, "thumbs:default")
    assert (status.state, status.error_code, status.attempts) == ("failed", "origin_unavailable", 2)
    assert [run.is_success for run in system.runs] == [True, False]  # the first had only pending images left


def test_an_origin_that_recovers_within_a_stage_costs_no_attempt(system: System) -> None:
    """The stage itself repeats the call, so that the image needs no second run."""
    system.origin.answers = [Answer(500), Answer(502), Answer(body=jpeg(120, 90))]
    status = system.ingest("2/1/page", f"{system.origin.url}/page.jpg", "thumbs:default")
    assert (status.state, status.attempts) == ("done", 1)
