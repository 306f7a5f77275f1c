"""The way of one image through its stages, with real services and without Dagster."""

from __future__ import annotations

import json

from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline


def test_an_image_has_all_that_its_channels_ask_for(pipeline: Pipeline) -> None:
    url = pipeline.serve("page.jpg", jpeg(300, 200))
    status = pipeline.ingest("2/1/page", url, "iiif-img:default,thumbs:default,file", mediaType="image/jpeg")
    assert status.state == "done"
    assert [event.result.stage for event in pipeline.done] == list(STAGES)
    assert {key: each.content_type for key, each in pipeline.storage().items()} == {
        "2/1/page": "image/jp2",
        "2/1/page/original": "image/jpeg",
    }
    assert json.loads(pipeline.thumbs("2/1/page/")["2/1/page/s.json"].data) == {
        "o": [[300, 200], [200, 133], [100, 67]],
        "a": [],
    }
    assert pipeline.left_in_scratch() == []


def test_a_failure_names_the_stage_in_which_it_occurred(pipeline: Pipeline) -> None:
    status = pipeline.ingest("2/1/page", pipeline.serve("page.jpg", b"no image"), "iiif-img:default")
    assert (status.state, status.error_code, status.error_stage) == ("failed", "not_an_image", "original")
    pipeline.appetiser.refusing["/convert"] = (500, "no")
    url = pipeline.serve("page.jpg", jpeg(30, 20))
    status = pipeline.ingest("2/1/page", url, "iiif-img:default")
    assert (status.state, status.error_stage) == ("failed", "jp2")
    assert {event.result.stage for event in pipeline.done} == {Stage.ORIGINAL}


def test_a_transient_original_is_removed_after_the_thumbnails(pipeline: Pipeline) -> None:
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(30, 20)), "thumbs:default", mediaType="image/jpeg")
    assert pipeline.facts("2/1/page", Stage.ORIGINAL)["plan"] == "7"
    assert pipeline.s3_proxy.count("PUT", "/transient/2/1/page/") == 1
    assert pipeline.storage() == {}
