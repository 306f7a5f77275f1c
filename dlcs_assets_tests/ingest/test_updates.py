"""What goes when the DLCS's API changes the channels of an image."""

from __future__ import annotations

from typing import Any

import pytest

from dlcs_assets_tests.intake.notifications import asset, notification
from dlcs_testing.pictures import jpeg
from dlcs_testing.pipeline import Pipeline

IMAGE = "2/1/page"


@pytest.fixture
def origin(pipeline: Pipeline) -> str:
    return pipeline.serve("page.jpg", jpeg(480, 320))


def update(pipeline: Pipeline, origin: str, before: str, after: str, **fields: Any) -> None:
    """Let the API change the image's channels, and say that ingest hears of it."""
    message = {
        "assetBeforeUpdate": asset(IMAGE, origin, before),
        "assetAfterUpdate": asset(IMAGE, origin, after, **fields),
    }
    pipeline.send(notification(message, engineNotified="True"), queue="update")
    pipeline.settle()
    assert pipeline.status(IMAGE).state == "done"


@pytest.mark.parametrize(
    ("before", "after", "stored", "thumbnails"),
    [
        ("iiif-img:use-original,file:none", "file:none", {"/original"}, set()),
        ("iiif-img:use-original,thumbs:default", "iiif-img:use-original", {"/original"}, {480, 400, 200, 100}),
        ("iiif-img:use-original", "iiif-img:default", {""}, {480, 400, 200, 100}),
        ("iiif-img:default", "iiif-img:use-original", {"/original"}, {480, 400, 200, 100}),
        ("iiif-img:default,file:none", "iiif-img:default", {""}, {480, 400, 200, 100}),
        ("thumbs:default", "", set(), set()),
        ("iiif-img:use-original", "", set(), set()),
    ],
)
def test_what_channels_no_longer_request_goes_with_an_update(  # noqa: PLR0917 (pytest passes them by name)
    pipeline: Pipeline, origin: str, before: str, after: str, stored: set[str], thumbnails: set[int]
) -> None:
    assert pipeline.ingest(IMAGE, origin, before).state == "done"
    if before.replace(",file:none", "") != after:  # the loss of the file alone concerns no thumbnail
        for key in (f"{IMAGE}/full/100,200/0/default.jpg", f"{IMAGE}/open/2048.jpg", f"{IMAGE}/low.jpg"):
            pipeline.put(pipeline.settings.thumbs_bucket, key)
    pipeline.put(pipeline.settings.storage_bucket, f"{IMAGE}/info/cantaloupe/v3/info.json")
    pipeline.put(pipeline.settings.storage_bucket, f"{IMAGE}bar/original")  # another image's
    update(pipeline, origin, before, after)
    expected = {f"{IMAGE}{key}" for key in stored} | {f"{IMAGE}/open/{edge}.jpg" for edge in thumbnails}
    if thumbnails:
        expected.add(f"{IMAGE}/s.json")
    assert {*pipeline.storage(), *pipeline.thumbs()} == expected | {f"{IMAGE}bar/original"}


@pytest.mark.parametrize(("known", "state"), [(True, "deleted"), (False, None)])
def test_a_customer_no_longer_configured_can_be_deleted(pipeline: Pipeline, known: bool, state: str | None) -> None:
    """Its images are still there. What is deleted of customers that another system has is of no interest."""
    image = "2/1/page"
    if known:
        pipeline.ingest(image, pipeline.serve("page.jpg", jpeg(30, 20)), "iiif-img:default")
    pipeline.use(customers=(3,))
    pipeline.send({"asset": {"id": image}, "deleteFrom": []}, queue="delete")
    pipeline.settle()
    assert pipeline.states().get(image) == state
    assert pipeline.storage(image) == {}
