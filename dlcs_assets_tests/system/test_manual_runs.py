"""Runs that a person launches from the UI: of one image, of one stage, of a range."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
import pytest

from dlcs_assets.defs import tags
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ledger.reports import Selection
from dlcs_testing.harness import System, full_message, key_of
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.scripted_server import Answer

DEFAULT = "iiif-img:default,thumbs:default"
PAGE = "2/1/page"


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    """Return a system that has ingested one page, and counts from there."""
    system = make_system(chunk_size=3)
    system.ingest(PAGE, system.serve("page.jpg", jpeg(120, 90)), DEFAULT)
    for asked in (system.origin.asked, system.appetiser.asked, system.image_server.asked):
        asked.clear()
    return system


def is_up_to_date(system: System, stage: Stage, upstream: Stage) -> bool:
    """Return, as Dagster does, whether the newest materialisation was made from the newest one of its upstream."""
    newest = {}
    for each in (stage, upstream):
        found = system.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=system.catalog.asset(each), asset_partitions=[key_of(PAGE)]), limit=1
        )
        newest[each] = found.records[0]
    made = newest[stage].asset_materialization
    assert made is not None
    pointer = (made.tags or {})[f"dagster/input_event_pointer/dlcs/{upstream}"]
    return pointer == str(newest[upstream].storage_id)


def test_thumbnails_alone_ask_the_image_server_alone(system: System) -> None:
    run = system.materialize([PAGE], [Stage.THUMBNAILS])
    assert run.is_success
    assert system.origin.asked == []
    assert system.appetiser.asked == []
    assert system.image_server.count("GET", "/full/") == 2
    assert system.partition(PAGE) == ("materialized",) * 3


def test_a_run_by_hand_is_tagged_and_registered_like_any_other(system: System) -> None:
    run = system.materialize([PAGE], [Stage.THUMBNAILS])
    tags = {name: value for name, value in run.tags.items() if name.startswith("dlcs/")}
    stored = system.instance.get_run_by_id(run.run_id)
    assert stored is not None
    assert tags.items() <= stored.tags.items()
    assert {name: stored.tags[f"dlcs/{name}"] for name in ("lane", "customer", "space")} == {
        "lane": "manual",
        "customer": "2",
        "space": "1",
    }
    assert (system.status(PAGE).state, system.status(PAGE).lane) == ("done", "manual")


def test_a_jp2_made_again_leaves_the_thumbnails_out_of_date(system: System) -> None:
    """The cached info.json is deleted; nothing but the JP2 is made."""
    system.put(system.settings.storage_bucket, f"{PAGE}/info/cantaloupe/v3/info.json")
    assert is_up_to_date(system, Stage.THUMBNAILS, Stage.JP2)
    assert system.materialize([PAGE], [Stage.JP2]).is_success
    assert len(system.origin.asked) == 1
    assert system.appetiser.count("POST") == 1
    assert system.image_server.asked == []
    assert set(system.storage()) == {PAGE}
    assert is_up_to_date(system, Stage.JP2, Stage.ORIGINAL)
    assert not is_up_to_date(system, Stage.THUMBNAILS, Stage.JP2)
    assert system.materialize([PAGE], [Stage.THUMBNAILS]).is_success
    assert is_up_to_date(system, Stage.THUMBNAILS, Stage.JP2)


def test_the_jp2_of_an_image_that_has_none_is_not_required_again(system: System) -> None:
    system.ingest("2/1/plain", system.serve("plain.png", encoded(drawing(60, 50), "PNG")), "iiif-img:use-original")
    assert system.materialize(["2/1/plain"], [Stage.JP2]).is_success
    assert system.metadata("2/1/plain", Stage.JP2)["outcome"] == "not required"
    assert system.appetiser.asked == []


def test_an_image_that_another_run_has_claimed_is_skipped(system: System) -> None:
    claim = system.ledger.claims.claim_images([AssetId.parse(PAGE)], STAGES, "another-run", now=datetime.now(UTC))
    assert len(claim.items) == 1
    run = system.materialize([PAGE])
    assert system.origin.asked == []
    assert system.image_server.asked == []
    assert system.status(PAGE).state == "running"
    assert "another-run" in system.log_of(run)


@pytest.mark.parametrize("status", [404, 503])
def test_a_done_image_stays_done_without_its_origin(system: System, status: int) -> None:
    """Signed links expire. The run is green, and says what it could not do; Dagster shows the image as it was."""
    before = system.storage(), system.thumbs()
    system.use(attempts=1)
    system.origin.by_path["/page.jpg"] = Answer(status)
    run = system.materialize([PAGE])
    assert run.is_success
    assert f"{PAGE} is not renewed, and stays as it was made before: original: " in system.log_of(run)
    image = system.status(PAGE)
    assert image.state == "done"
    assert image.error_code is not None
    assert image.error_code.startswith("origin_")
    system.tick("reconcile")
    assert system.partition(PAGE) == ("materialized",) * 3
    assert (system.storage(), system.thumbs()) == before
    assert not system.ledger.results.unreported(limit=10)


def test_a_done_image_with_another_origin_fails_without_it(system: System) -> None:
    """What is stored is not what its registration asks for; and running it again by hand changes nothing about that."""
    system.send(full_message(PAGE, f"{system.origin.url}/gone.jpg", DEFAULT))
    system.settle()
    assert system.status(PAGE).state == "failed"
    system.materialize([PAGE])
    assert system.status(PAGE).state == "failed"


def test_what_is_cancelled_leaves_dagster_and_ledger_agreed(system: System) -> None:
    """A person cancels runs in Dagster's queue: the page that is done stays done, and the new one is withdrawn."""
    new = "2/1/new"
    system.send(full_message(new, f"{system.origin.url}/page.jpg", DEFAULT))
    system.ledger.reports.retry(Selection(ids=(PAGE,)), now=datetime.now(UTC))
    for sensor in ("sqs_ingest", "due_images"):
        result = system.evaluate(sensor)
        assert isinstance(result, dg.SensorResult)
        for request in result.run_requests or ():
            run = system.instance.get_run_by_id(system.begin(request))
            assert run is not None
            system.evaluate(sensor)  # it takes note of the run
            system.instance.report_run_canceled(run)
    assert "2 images cancelled with their runs" in system.skip_reason("reconcile")
    assert system.states() == {PAGE: "done", new: "cancelled"}
    assert system.partition(PAGE) == ("materialized",) * 3
    assert system.partition(new) == ("missing",) * 3
    assert system.settle() == []
    assert sorted(system.ledger.reports.retry(Selection(code="cancelled"), now=datetime.now(UTC))) == [new, PAGE]
    system.settle()
    assert system.states() == {PAGE: "done", new: "done"}


def test_an_unregistered_image_fails_the_run_and_is_named(system: System) -> None:
    """A partition key can be added in Dagster without any message."""
    system.instance.add_dynamic_partitions(system.catalog.partitions_name, [key_of("2/1/unheard-of")])
    run = system.materialize(["2/1/unheard-of"])
    assert run.status is dg.DagsterRunStatus.FAILURE
    _, table = system.failure_of(run)
    assert "2/1/unheard-of" in table
    assert "it is not registered" in table


def test_a_range_larger_than_a_chunk_is_refused(system: System) -> None:
    """No origin is asked, and the states of the images stay as they are."""
    url = f"{system.origin.url}/page.jpg"
    images = [f"2/1/more-{number}" for number in range(4)]
    system.send(*(full_message(image, url, "file") for image in images))
    system.settle()
    system.origin.asked.clear()
    run = system.materialize(images)
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert "at most 3 images, this one was given 4" in system.failure_of(run)[0]
    assert system.origin.asked == []
    assert {system.status(image).state for image in images} == {"done"}


def test_a_range_of_images_is_one_run(system: System) -> None:
    url = f"{system.origin.url}/page.jpg"
    images = [f"2/1/more-{number}" for number in range(3)]
    system.send(*(full_message(image, url, "file") for image in images))
    system.settle()
    system.origin.asked.clear()
    run = system.materialize(images, [Stage.ORIGINAL])
    assert run.is_success
    assert len(system.origin.asked) == 3
    assert {system.status(image).lane for image in images} == {"manual"}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, "This run was launched for no image."),
        ({tags.PARTITION: "@2/1/unknown"}, "Dagster has no partition @2/1/unknown."),
        ({tags.PARTITION: "page"}, "Dagster has no partition page."),
        ({tags.PARTITION: "by hand"}, "The partition by hand is no image's"),
    ],
    ids=["none", "unknown", "not an image", "added by a person"],
)
def test_a_run_without_known_images_says_so(system: System, chosen: dict[str, str], said: str) -> None:
    system.instance.add_dynamic_partitions(system.catalog.partitions_name, ["by hand"])
    run = system.launch(chosen)
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert system.failure_of(run)[0].startswith(said)
    assert system.status(PAGE).state == "done"


def test_a_range_with_both_keys_of_an_image_takes_it_once(system: System) -> None:
    system.instance.add_dynamic_partitions(system.catalog.partitions_name, ["/2/1/page"])
    system.origin.asked.clear()
    run = system.launch({tags.RANGE_START: key_of(PAGE), tags.RANGE_END: "/2/1/page"})
    assert run.is_success
    assert len(system.origin.asked) == 1
    assert system.status(PAGE).state == "done"
