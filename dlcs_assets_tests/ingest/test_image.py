"""The way of one image through its stages, with real services and without Dagster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from dlcs_assets.domain import ingest_plan
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_testing.pictures import drawing, encoded, jpeg
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


OTHER_ROWS = {
    "5": {"2/1/page/original": "image/jp2"},
    "7": {},
}


@pytest.mark.parametrize(("row", "stored"), OTHER_ROWS.items())
def test_the_format_that_is_fetched_decides_what_is_removed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, row: str, stored: dict[str, str]
) -> None:
    """The plan is the one for what was fetched last, not for what was known before, if a table keeps other objects."""
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)
    page = drawing(300, 200)
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", encoded(page, "JPEG")), "iiif-img:default")
    assert pipeline.storage().keys() == {"2/1/page"}
    other = next(plan for plan in ingest_plan._PLANS.values() if plan.row == row)
    monkeypatch.setitem(ingest_plan._PLANS, ("iiif-img,default", "http*", "jp2"), other)
    status = pipeline.ingest("2/1/page", pipeline.serve("page.jp2", encoded(page, "JPEG2000")), "iiif-img:default")
    assert (status.state, pipeline.facts("2/1/page", Stage.ORIGINAL)["plan"]) == ("done", row)
    assert {key: each.content_type for key, each in pipeline.storage().items()} == stored
    assert pipeline.s3_proxy.count("PUT", "/transient/2/1/page/") == (row == "7")


def test_an_origin_is_peeked_at_only_if_that_may_be_all(pipeline: Pipeline) -> None:
    """Where the registration does not name the media type, an image is fetched at once: its first bytes say enough.

    They also end the fetch of what is not to be fetched, which is then peeked at.
    """
    pipeline.ingest("2/1/unknown", pipeline.serve("unknown.jpg", jpeg(30, 20)), "")
    pipeline.ingest("2/1/text", pipeline.serve("text", b"neither image nor anything"), "")
    pipeline.ingest("2/1/typed", pipeline.serve("typed.jpg", jpeg(30, 20)), "", mediaType="image/jpeg")
    pipeline.ingest("2/1/named", pipeline.serve("named.jpg", jpeg(30, 20)), "iiif-img:default")
    asked = Counter(each.path for each in pipeline.origin.asked)
    assert asked == {"/unknown.jpg": 1, "/text": 2, "/typed.jpg": 1, "/named.jpg": 1}


@pytest.mark.parametrize(
    ("channels", "stages", "fetched", "sources"),
    [
        ("iiif-img:default", [Stage.JP2], 1, 0),
        ("iiif-img:default", [Stage.JP2, Stage.THUMBNAILS], 1, 0),
        ("iiif-img:default", [Stage.THUMBNAILS], 0, 1),
        ("iiif-img:use-original", [Stage.THUMBNAILS], 0, 1),
        ("thumbs:default", [Stage.THUMBNAILS], 1, 1),
    ],
)
def test_later_stages_alone_fetch_what_they_need(
    pipeline: Pipeline, channels: str, stages: list[Stage], fetched: int, sources: int
) -> None:
    """The original at most once; that the source of thumbnails is still stored is checked where no stage made it."""
    pipeline.use(s3_endpoint_url=pipeline.s3_proxy.url)
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(30, 20)), channels, mediaType="image/jpeg")
    pipeline.origin.asked.clear()
    pipeline.s3_proxy.asked.clear()
    pipeline.done.clear()
    (ended,) = pipeline.run(pipeline.claim_images("2/1/page", stages=stages))
    assert ended.state == "done"
    assert [event.result.stage for event in pipeline.done] == stages
    assert len(pipeline.origin.asked) == fetched
    assert pipeline.s3_proxy.count("HEAD", f"/{pipeline.settings.storage_bucket}/") == sources
    assert pipeline.storage("transient/") == {}


def test_thumbnails_of_a_jp2_that_is_gone_say_what_to_do(pipeline: Pipeline) -> None:
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(30, 20)), "iiif-img:default", mediaType="image/jpeg")
    pipeline.s3.delete_object(Bucket=pipeline.settings.storage_bucket, Key="2/1/page")
    (ended,) = pipeline.run(pipeline.claim_images("2/1/page", stages=[Stage.THUMBNAILS]))
    assert (ended.state, ended.error and ended.error.code) == ("failed", "source_missing")
    assert ended.error
    assert ended.error.remedy == "Materialize jp2 of this image, too"


def test_a_retry_continues_where_the_attempt_before_failed(pipeline: Pipeline) -> None:
    """What an attempt completed is not made again by the next one, and is yielded nevertheless."""
    pipeline.image_server.refusing["/iiif/"] = (500, "no")
    url = pipeline.serve("page.jpg", jpeg(30, 20))
    status = pipeline.ingest("2/1/page", url, "iiif-img:default", mediaType="image/jpeg")
    assert (status.state, status.error_stage) == ("failed", "thumbnails")
    conversions = pipeline.appetiser.count("POST", "/convert")
    pipeline.image_server.refusing.clear()
    pipeline.origin.asked.clear()
    pipeline.done.clear()
    pipeline.retry("2/1/page")
    assert pipeline.status("2/1/page").state == "done"
    assert [event.result.stage for event in pipeline.done][-1] is Stage.THUMBNAILS
    assert (len(pipeline.origin.asked), pipeline.appetiser.count("POST", "/convert") - conversions) == (1, 1)


def test_ingest_needs_no_dagster() -> None:
    program = "import sys, dlcs_assets.ingest.chunk; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
