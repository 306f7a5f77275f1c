"""No thumbnail is published for a picture that was not compared with its source: in no attempt, lane or rerun."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import ReprocessEstimate, ReprocessSelector, request_reprocessing, select_images
from dlcs_assets_tests.pictures.prints import scene
from dlcs_testing.installation import full_message
from dlcs_testing.looking import shows
from dlcs_testing.pictures import drawing, encoded
from dlcs_testing.pipeline import Pipeline

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT, USE_ORIGINAL = "iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"
OF_EVERY_SOURCE = pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL, "thumbs:default"])


def page(seed: int) -> Image:
    from PIL import Image as PillowImage

    return PillowImage.fromarray(scene(seed)).resize((480, 288), PillowImage.Resampling.NEAREST)


def changed(how: str, data: bytes) -> bytes:
    from PIL import Image as PillowImage
    from PIL import ImageOps

    if not data.startswith(b"\xff\xd8"):
        return data
    changes: dict[str, Callable[[Image], Image]] = {
        "mirrored": ImageOps.mirror,
        "upside down": lambda image: image.rotate(180),
        "blank": lambda image: PillowImage.new("RGB", image.size, "white"),
        "negative": ImageOps.invert,
        "red for blue": lambda image: PillowImage.merge("RGB", image.convert("RGB").split()[::-1]),
        "CMYK": lambda image: image.convert("CMYK"),
        "another": lambda image: page(9).resize(image.size),
    }
    with PillowImage.open(BytesIO(data)) as image:
        return encoded(changes[how](image), "JPEG")


SEEN = {
    "mirrored": ("thumbnail_turned", "mirrored"),
    "upside down": ("thumbnail_turned", "turned by 180 degrees"),
    "blank": ("thumbnail_blank", "blank"),
    "negative": ("thumbnail_colours", "negative"),
    "red for blue": ("thumbnail_colours", "colours"),
    "CMYK": ("thumbnail_colours", "a JPEG in CMYK"),
    "another": ("thumbnail_of_another_picture", "another picture"),
}


@pytest.mark.parametrize("how", SEEN)
@OF_EVERY_SOURCE
def test_a_thumbnail_that_is_wrong_is_never_published(pipeline: Pipeline, how: str, channels: str) -> None:
    """Not by the first attempt, not by a retry, not by thumbnails made alone; and the reason says what was seen."""
    pipeline.image_server.change = lambda _, body: changed(how, body)
    status = pipeline.ingest("2/1/page", pipeline.serve("page.png", encoded(page(1), "PNG")), channels)
    assert (status.state, status.error_code) == ("failed", SEEN[how][0])
    assert SEEN[how][1] in str(status.error_cause)
    pipeline.retry("2/1/page")
    pipeline.settle()
    assert pipeline.status("2/1/page").error_code == SEEN[how][0]
    for stages in ([Stage.THUMBNAILS], STAGES):
        (ended,) = pipeline.run_by_hand("2/1/page", stages=stages)
        assert ended.state in {"failed", "pending"}
    assert pipeline.thumbs("2/1/page/") == {}


@OF_EVERY_SOURCE
def test_only_what_a_cache_may_mend_is_tried_again(pipeline: Pipeline, channels: str) -> None:
    pipeline.image_server.change = lambda _, body: changed("mirrored", body)
    pipeline.ingest_once("2/1/page", pipeline.serve("page.png", encoded(page(1), "PNG")), channels)
    assert pipeline.status("2/1/page").state == "failed"
    pipeline.image_server.change = lambda _, body: changed("another", body)
    pipeline.ingest_once("2/1/other", pipeline.serve("other.png", encoded(page(1), "PNG")), channels)
    assert pipeline.status("2/1/other").state == "pending"


class CachesEverything:
    """A server with all caches on: it always gives what it gave first for an identifier and a size."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._kept: dict[str, bytes] = {}
        pipeline.image_server.change = self.answer

    def answer(self, path: str, body: bytes) -> bytes:
        key = path.partition("?")[0]
        return self._kept.setdefault(key, body) if "/default.jpg" in key else body


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL])
def test_an_old_picture_from_a_cache_is_never_published(pipeline: Pipeline, channels: str) -> None:
    """Another picture under the same key: no attempt, retry, rerun or reprocessing publishes the old one."""
    CachesEverything(pipeline)
    assert pipeline.ingest("2/1/page", pipeline.serve("page.png", encoded(page(1), "PNG")), channels).state == "done"
    first = pipeline.thumbs("2/1/page/")
    again = pipeline.serve("again.png", encoded(page(5), "PNG"))
    status = pipeline.ingest("2/1/page", again, channels)
    assert (status.state, status.error_code) == ("failed", "thumbnail_of_another_picture")
    pipeline.retry("2/1/page")
    pipeline.settle()
    for stages in ([Stage.THUMBNAILS], STAGES, [Stage.THUMBNAILS]):
        pipeline.run_by_hand("2/1/page", stages=stages)
        pipeline.settle()
    assert pipeline.thumbs("2/1/page/") == first
    assert pipeline.status("2/1/page").state == "failed"
    # As soon as the cache is off, the next try publishes the new one.
    pipeline.image_server.change = lambda _, body: body
    pipeline.retry("2/1/page")
    pipeline.settle()
    assert pipeline.status("2/1/page").state == "done"
    assert shows(pipeline.thumbs("2/1/page/")["2/1/page/open/100.jpg"].data, page(5))


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL])
def test_reprocessing_in_bulk_never_publishes_an_old_picture(pipeline: Pipeline, channels: str) -> None:
    """Of a space, from whatever stage; a size that is not cached yet does not come with old ones."""
    CachesEverything(pipeline)
    old, new = (drawing(480, 288, seed=seed) for seed in (1, 2))
    images = [f"2/1/page-{number}" for number in range(4)]
    origins = {image: pipeline.serve(f"{image[-1]}.png", encoded(old, "PNG")) for image in images}
    pipeline.send(*(full_message(image, origin, channels) for image, origin in origins.items()))
    pipeline.settle()
    first = pipeline.thumbs("2/1/")
    for image in images[1:]:  # the first one stays as it is
        pipeline.serve(f"{image[-1]}.png", encoded(new, "PNG"))
    assert reprocessed(pipeline, Stage.ORIGINAL, images) == ["done", "failed", "failed", "failed"]
    assert {pipeline.status(image).error_code for image in images[1:]} == {"thumbnail_of_another_picture"}
    assert {key: each.data for key, each in pipeline.thumbs("2/1/").items()} == {
        key: each.data for key, each in first.items()
    }
    pipeline.use(default_thumbnail_sizes=("!100,100", "!77,77"))
    for stage in (Stage.THUMBNAILS, Stage.ORIGINAL):
        assert reprocessed(pipeline, stage, images) == ["done", "failed", "failed", "failed"]
    assert not [key for key in pipeline.thumbs("2/1/page-1/") if "77" in key]
    pipeline.image_server.change = lambda _, body: body
    assert reprocessed(pipeline, Stage.THUMBNAILS, images) == ["done"] * 4
    shown = {image: pipeline.thumbs(f"{image}/")[f"{image}/open/77.jpg"].data for image in images}
    assert [shows(shown[image], new) for image in images] == [False, True, True, True]


def reprocessed(pipeline: Pipeline, stage: Stage, images: list[str]) -> list[str]:
    """Reprocess a space from a stage on, as a person asks for it, and return the states of the images."""
    selector = ReprocessSelector(customer=2, space=1, from_stage=stage)
    policy = ingest_policy(pipeline.settings)
    wanted = list(select_images(pipeline.ledger, selector, policy, ReprocessEstimate()))
    assert [str(each.asset_id) for each in wanted] == images
    request_reprocessing(pipeline.ledger, selector, wanted, asked_by="a test")
    pipeline.settle()
    return [pipeline.status(image).state for image in images]


def test_thumbnails_alone_are_compared_with_what_is_stored(pipeline: Pipeline) -> None:
    assert pipeline.ingest("2/1/page", pipeline.serve("page.png", encoded(page(1), "PNG")), DEFAULT).state == "done"
    (ended,) = pipeline.run_by_hand("2/1/page", stages=[Stage.THUMBNAILS])
    assert ended.state == "done"
    pipeline.put(pipeline.settings.storage_bucket, "2/1/page", encoded(page(7), "JPEG2000"), "image/jp2")
    pipeline.image_server.change = lambda _, body: changed("another", body)
    (ended,) = pipeline.run_by_hand("2/1/page", stages=[Stage.THUMBNAILS])
    assert ended.error
    assert ended.error.code == "thumbnail_of_another_picture"


def test_a_page_that_is_blank_is_no_blank_thumbnail(pipeline: Pipeline) -> None:
    from PIL import Image as PillowImage

    blank = encoded(PillowImage.new("RGB", (480, 288), (244, 240, 228)), "PNG")
    assert pipeline.ingest("2/1/blank", pipeline.serve("blank.png", blank), DEFAULT).state == "done"
