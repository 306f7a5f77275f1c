"""Images made again: because a policy changed, because a person asked, from the command line or the launchpad."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import ReprocessEstimate, ReprocessSelector, request_reprocessing, select_images
from dlcs_testing.installation import full_message
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline
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
IMAGES = 40
CHUNK = 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "customers.yaml"
    path.write_text(CUSTOMERS % BEFORE)
    return path


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline], file: Path) -> Pipeline:
    return make_pipeline(customers_file=file, default_thumbnail_sizes=SIZES, chunk_size=CHUNK)


def stale(pipeline: Pipeline, **criteria: Any) -> dict[str, tuple[set[Stage], tuple[str, ...]]]:
    found = select_images(
        pipeline.ledger,
        ReprocessSelector(stale=True, **criteria),
        ingest_policy(pipeline.settings),
        ReprocessEstimate(),
    )
    return {str(each.asset_id): (set(each.stages), each.reasons) for each in found}


def ask_again(pipeline: Pipeline, **criteria: Any) -> ReprocessEstimate:
    estimate = ReprocessEstimate()
    selector = ReprocessSelector(**criteria)
    wanted = list(select_images(pipeline.ledger, selector, ingest_policy(pipeline.settings), estimate))
    request_reprocessing(pipeline.ledger, selector, wanted, asked_by="a test")
    return estimate


def etags(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    """Return ETag and time of every object in the storage bucket: both stay as they are only if it is not written."""
    pages = pipeline.s3.get_paginator("list_objects_v2").paginate(Bucket=pipeline.settings.storage_bucket)
    return {
        item["Key"]: (item["ETag"], item["LastModified"].isoformat()) for page in pages for item in page["Contents"]
    }


def ingest_small(pipeline: Pipeline, *images: str, **fields: Any) -> None:
    url = pipeline.serve("page.jpg", jpeg(90, 60))
    pipeline.send(*(full_message(image, url, **fields) for image in images))
    pipeline.settle()
    assert set(pipeline.states().values()) == {"done"}


def test_a_changed_policy_is_followed_by_thumbnails_alone(pipeline: Pipeline, file: Path) -> None:
    """In a handful of chunks; nothing is fetched or converted."""
    images = [f"2/{1 + number % 2}/page-{number:03}" for number in range(IMAGES)]
    ingest_small(pipeline, *images, "12/1/other")
    assert stale(pipeline) == {}
    jp2s, conversions = etags(pipeline), pipeline.appetiser.count("POST", "/convert")

    file.write_text(CUSTOMERS % AFTER)
    assert eventually(lambda: bool(stale(pipeline)))  # the file is checked once a second
    assert stale(pipeline) == {image: ({Stage.THUMBNAILS}, ("policy",)) for image in sorted(images)}
    estimate = ask_again(pipeline, customer=2, stale=True)
    assert (estimate.images, estimate.by_stage) == (IMAGES, {Stage.THUMBNAILS: IMAGES})
    chunks = pipeline.work()

    assert len(chunks) == IMAGES // CHUNK
    assert {(chunk.lane, chunk.customer, chunk.space) for chunk in chunks} == {
        (Lane.BACKFILL, 2, 1),
        (Lane.BACKFILL, 2, 2),
    }
    assert etags(pipeline) == jp2s
    assert pipeline.appetiser.count("POST", "/convert") == conversions
    thumbs = pipeline.thumbs("2/")
    edges = {50: [50, 33], 30: [30, 20], 20: [20, 13]}
    expected = {f"{image}/open/{edge}.jpg" for image in images for edge in edges} | {
        f"{image}/s.json" for image in images
    }
    assert set(thumbs) == expected
    for image in images:
        assert json.loads(thumbs[f"{image}/s.json"].data) == {"o": list(edges.values()), "a": []}
    assert stale(pipeline) == {}


def test_scattered_images_of_a_space_are_reprocessed_in_one_run(pipeline: Pipeline) -> None:
    images = [f"2/1/{kind}-{number}" for number in range(6) for kind in ("page", "cover")]
    ingest_small(pipeline, *images, "12/1/page-1", "22/1/page-1")
    estimate = ask_again(pipeline, customer=2, match="page-*", from_stage=Stage.THUMBNAILS)
    assert estimate.images == len(images) // 2
    assert len(pipeline.work()) == 1
    again = {
        image
        for image in images
        if pipeline.request_of(image, Stage.THUMBNAILS) != pipeline.request_of(image, Stage.JP2)
    }
    assert again == {image for image in images if "page" in image}
    assert set(pipeline.states().values()) == {"done"}


@pytest.mark.parametrize(
    ("fields", "redone"),
    [
        ({"maxUnauthorised": 25}, {Stage.THUMBNAILS}),
        ({"mediaType": "image/jpeg"}, set(Stage)),  # nothing that decides has changed: it is a plain request
        ({}, set(Stage)),
    ],
)
def test_a_message_reprocesses_what_it_changes(pipeline: Pipeline, fields: dict[str, Any], redone: set[Stage]) -> None:
    """One that changes nothing reprocesses everything."""
    ingest_small(pipeline, "2/1/page")
    before = {stage: pipeline.request_of("2/1/page", stage) for stage in Stage}
    ingest_small(pipeline, "2/1/page", **fields)
    after = {stage: pipeline.request_of("2/1/page", stage) for stage in Stage}
    assert {stage for stage in Stage if before[stage] != after[stage]} == redone


def test_what_channels_no_longer_request_is_removed(pipeline: Pipeline) -> None:
    """Nothing is fetched for that."""
    ingest_small(pipeline, "2/1/page", channels="iiif-img:default,thumbs:pages,file")
    assert set(pipeline.storage()) == {"2/1/page", "2/1/page/original"}
    asked = len(pipeline.origin.asked)
    ingest_small(pipeline, "2/1/page", channels="iiif-img:default,thumbs:pages")
    assert set(pipeline.storage()) == {"2/1/page"}
    assert len(pipeline.origin.asked) == asked
    assert pipeline.status("2/1/page").stages[Stage.ORIGINAL].outcome == "fetched, not kept"
    ingest_small(pipeline, "2/1/page", channels="iiif-img:use-original,thumbs:pages")
    assert set(pipeline.storage()) == {"2/1/page/original"}
    ingest_small(pipeline, "2/1/page", channels="none")
    assert (pipeline.storage(), pipeline.thumbs()) == ({}, {})
    assert pipeline.status("2/1/page").objects == ()


def test_access_that_is_tightened_leaves_no_open_thumbnail(pipeline: Pipeline) -> None:
    ingest_small(pipeline, "2/1/page")
    ingest_small(pipeline, "2/1/page", roles=["https://example.org/staff"])
    edges = (60, 30, 20)
    assert set(pipeline.thumbs()) == {f"2/1/page/auth/{edge}.jpg" for edge in edges} | {"2/1/page/s.json"}


def test_an_object_that_is_an_origin_is_never_removed(pipeline: Pipeline) -> None:
    ingest_small(pipeline, "2/1/page", channels="iiif-img:use-original")
    with_origin = "UPDATE images SET origin_bucket = ?, origin_key = ? WHERE id = '12/1/other'"
    ingest_small(pipeline, "12/1/other")
    pipeline.execute(with_origin, pipeline.settings.storage_bucket, "2/1/page/original")
    ingest_small(pipeline, "2/1/page", channels="iiif-img:default")
    assert set(pipeline.storage("2/")) == {"2/1/page", "2/1/page/original"}
