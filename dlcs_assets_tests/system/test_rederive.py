"""Images made again: because a policy changed, because a person asked, from the command line or the launchpad."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import ReprocessEstimate, ReprocessSelector, request_reprocessing, select_images
from dlcs_testing.harness import System, full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.processes import eventually

CUSTOMERS = """
customers:
  2:
    policies: {thumbs: {pages: [%s]}}
    default_channels:
      - {media_type: image/*, channel: iiif-img, policy: default}
      - {media_type: image/*, channel: thumbs, policy: pages}
  12: {}
  22: {}
"""
BEFORE, AFTER = "'!60,60', '!30,30'", "'!50,50', '!30,30'"
SIZES = ("!20,20",)
IMAGES = 80
CHUNK = 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "customers.yaml"
    path.write_text(CUSTOMERS % BEFORE)
    return path


@pytest.fixture
def system(make_system: Callable[..., System], file: Path) -> System:
    return make_system(customers_file=file, default_thumbnail_sizes=SIZES, chunk_size=CHUNK)


def stale(system: System, **criteria: Any) -> dict[str, tuple[set[Stage], tuple[str, ...]]]:
    found = select_images(
        system.ledger, ReprocessSelector(stale=True, **criteria), ingest_policy(system.settings), ReprocessEstimate()
    )
    return {str(each.asset_id): (set(each.stages), each.reasons) for each in found}


def ask_again(system: System, **criteria: Any) -> ReprocessEstimate:
    estimate = ReprocessEstimate()
    wanted = list(select_images(system.ledger, ReprocessSelector(**criteria), ingest_policy(system.settings), estimate))
    request_reprocessing(system.ledger, wanted, now=datetime.now(UTC))
    return estimate


def etags(system: System) -> dict[str, tuple[str, str]]:
    """Return ETag and time of every object in the storage bucket: both stay as they are only if nobody writes it."""
    pages = system.s3.get_paginator("list_objects_v2").paginate(Bucket=system.settings.storage_bucket)
    return {
        item["Key"]: (item["ETag"], item["LastModified"].isoformat()) for page in pages for item in page["Contents"]
    }


def ingest_small(system: System, *images: str, **fields: Any) -> None:
    url = system.serve("page.jpg", jpeg(90, 60))
    system.send(*(full_message(image, url, **fields) for image in images))
    system.settle()
    assert set(system.states().values()) == {"done"}


def test_a_changed_policy_is_followed_by_thumbnails_alone_in_a_handful_of_runs(system: System, file: Path) -> None:
    images = [f"2/{1 + number % 2}/page-{number:03}" for number in range(IMAGES)]
    ingest_small(system, *images, "12/1/other")
    assert stale(system) == {}
    jp2s, conversions = etags(system), system.appetiser.count("POST", "/convert")

    file.write_text(CUSTOMERS % AFTER)
    assert eventually(lambda: bool(stale(system)))  # the file is looked at once a second
    assert stale(system) == {image: ({Stage.THUMBNAILS}, ("policy",)) for image in sorted(images)}
    estimate = ask_again(system, customer=2, stale=True)
    assert (estimate.images, estimate.by_stage) == (IMAGES, {Stage.THUMBNAILS: IMAGES})
    runs = system.settle()

    assert len(runs) == IMAGES // CHUNK
    assert {run.tags["dlcs/lane"] for run in runs} == {Lane.BACKFILL}
    assert {(run.tags["dlcs/customer"], run.tags["dlcs/space"]) for run in runs} == {("2", "1"), ("2", "2")}
    assert etags(system) == jp2s
    assert system.appetiser.count("POST", "/convert") == conversions
    thumbs = system.thumbs("2/")
    edges = {50: [50, 33], 30: [30, 20], 20: [20, 13]}
    expected = {f"{image}/open/{edge}.jpg" for image in images for edge in edges} | {
        f"{image}/s.json" for image in images
    }
    assert set(thumbs) == expected
    for image in images:
        assert json.loads(thumbs[f"{image}/s.json"].data) == {"o": list(edges.values()), "a": []}
    assert stale(system) == {}


def test_scattered_images_of_one_space_are_made_again_in_one_run(system: System) -> None:
    images = [f"2/1/{kind}-{number}" for number in range(10) for kind in ("page", "cover")]
    ingest_small(system, *images, "12/1/page-1", "22/1/page-1")
    estimate = ask_again(system, customer=2, match="page-*", from_stage=Stage.THUMBNAILS)
    assert estimate.images == len(images) // 2
    (run,) = system.settle()
    again = {
        image
        for image in images
        if system.metadata(image, Stage.THUMBNAILS)["request"] != system.metadata(image, Stage.JP2)["request"]
    }
    assert again == {image for image in images if "page" in image}
    assert run.is_success


@pytest.mark.parametrize(
    ("fields", "redone"),
    [
        ({"maxUnauthorised": 25}, {Stage.THUMBNAILS}),
        ({"mediaType": "image/jpeg"}, set(Stage)),  # nothing that decides has changed: it is a plain request
        ({}, set(Stage)),
    ],
)
def test_a_message_does_over_what_it_changes_and_one_that_changes_nothing_all(
    system: System, fields: dict[str, Any], redone: set[Stage]
) -> None:
    ingest_small(system, "2/1/page")
    before = {stage: system.metadata("2/1/page", stage)["request"] for stage in Stage}
    ingest_small(system, "2/1/page", **fields)
    after = {stage: system.metadata("2/1/page", stage)["request"] for stage in Stage}
    assert {stage for stage in Stage if before[stage] != after[stage]} == redone


def test_what_channels_no_longer_ask_for_is_removed_and_nothing_is_fetched_for_that(system: System) -> None:
    ingest_small(system, "2/1/page", channels="iiif-img:default,thumbs:pages,file")
    assert set(system.storage()) == {"2/1/page", "2/1/page/original"}
    asked = len(system.origin.asked)
    ingest_small(system, "2/1/page", channels="iiif-img:default,thumbs:pages")
    assert set(system.storage()) == {"2/1/page"}
    assert len(system.origin.asked) == asked
    assert system.metadata("2/1/page", Stage.ORIGINAL)["outcome"] == "fetched, not kept"
    ingest_small(system, "2/1/page", channels="iiif-img:use-original,thumbs:pages")
    assert set(system.storage()) == {"2/1/page/original"}
    ingest_small(system, "2/1/page", channels="none")
    assert (system.storage(), system.thumbs()) == ({}, {})
    assert system.status("2/1/page").objects == ()


def test_access_that_is_tightened_leaves_no_open_thumbnail(system: System) -> None:
    ingest_small(system, "2/1/page")
    ingest_small(system, "2/1/page", roles=["https://example.org/staff"])
    edges = (60, 30, 20)
    assert set(system.thumbs()) == {f"2/1/page/auth/{edge}.jpg" for edge in edges} | {"2/1/page/s.json"}


def test_an_object_that_is_another_images_origin_is_never_removed(system: System) -> None:
    ingest_small(system, "2/1/page", channels="iiif-img:use-original")
    with_origin = "UPDATE images SET origin_bucket = ?, origin_key = ? WHERE id = '12/1/other'"
    ingest_small(system, "12/1/other")
    system.execute(with_origin, system.settings.storage_bucket, "2/1/page/original")
    ingest_small(system, "2/1/page", channels="iiif-img:default")
    assert set(system.storage("2/")) == {"2/1/page", "2/1/page/original"}


def test_the_job_in_the_launchpad_says_what_it_comes_to_and_then_does_it(system: System) -> None:
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
