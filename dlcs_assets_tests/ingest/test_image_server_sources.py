"""Names that are hard on identifiers, sources that are gone, and image servers that are wrong or are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.ingest.odd_pictures import turned_jpeg
from dlcs_stack.stack import RunningStack
from dlcs_testing.installation import full_message
from dlcs_testing.looking import shows
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline, running_pipeline

DEFAULT, USE_ORIGINAL = "iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"
NAMES = [
    "100%",
    "50%25 off",
    "what?",
    "#1",
    "page;2",
    "page;2;1:2",
    "two  spaces",
    'it\'s "so"',
    "(recto) [a] {b}",
    "été·Ω·本",
    "a+b&c=d,e!f^g~h",
    "info.json",
    "..page..",
]
HARD = {f"2/1/{name}": drawing(120, 90, seed=number + 1) for number, name in enumerate(NAMES)}
of_every_name = pytest.mark.parametrize("image", HARD)


@pytest.fixture(scope="module", params=SourceAccess)
def named(
    request: pytest.FixtureRequest, services: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Ingest each name as a JP2, and as an original that is served as it is."""
    with running_pipeline(services, tmp_path_factory.mktemp("named"), image_server_sources=request.param) as pipeline:
        for number, (image, picture) in enumerate(HARD.items()):
            url = pipeline.serve(f"{number}.png", encoded(picture, "PNG"))
            pipeline.send(full_message(image, url, DEFAULT if number % 2 else USE_ORIGINAL))
            at_origin = pipeline.upload(f"3/1/{image[4:]}", encoded(picture, "PNG"))
            pipeline.send(full_message(image.replace("2/1/", "3/1/"), at_origin, "thumbs:default"))
        pipeline.settle()
        yield pipeline


@of_every_name
def test_thumbnails_of_hard_names_show_their_own_pictures(named: Pipeline, image: str) -> None:
    assert named.status(image).state == "done"
    assert shows(named.thumbs(f"{image}/")[f"{image}/open/100.jpg"].data, HARD[image])


@of_every_name
def test_originals_with_hard_names_are_read_where_they_are(named: Pipeline, image: str) -> None:
    at_origin = image.replace("2/1/", "3/1/")
    status = named.status(at_origin)
    assert (status.state, status.stages[Stage.ORIGINAL].facts["plan"]) == ("done", "8")
    assert shows(named.thumbs(f"{at_origin}/")[f"{at_origin}/open/100.jpg"].data, HARD[image])


@pytest.mark.parametrize("sources", SourceAccess)
def test_a_source_that_vanishes_before_the_thumbnails_is_named(
    make_pipeline: Callable[..., Pipeline], sources: SourceAccess
) -> None:
    pipeline = make_pipeline(image_server_sources=sources)
    pipeline.image_server.stop()
    pipeline.ingest_once("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    assert pipeline.status("2/1/page").state == "pending"
    assert pipeline.status("2/1/page").stages.keys() == {Stage.ORIGINAL, Stage.JP2}
    pipeline.s3.delete_object(Bucket=pipeline.settings.storage_bucket, Key="2/1/page")
    pipeline.image_server.start()
    pipeline.settle()
    status = pipeline.status("2/1/page")
    assert (status.state, status.error_code) == ("failed", "source_missing")
    assert status.error_cause == "There is no 2/1/page in the storage bucket to make thumbnails from"
    assert status.error_remedy == "Materialize jp2 of this image, too"


def test_a_server_that_is_a_pixel_off_is_followed_with_a_note(pipeline: Pipeline) -> None:
    pipeline.image_server.refusing["/info.json"] = (200, json.dumps({"width": 361, "height": 480}))
    url = pipeline.serve("turned.jpg", turned_jpeg())
    assert pipeline.ingest("2/1/page", url, USE_ORIGINAL).state == "done"
    metadata = pipeline.facts("2/1/page", Stage.THUMBNAILS)
    assert metadata["note"] == "The bytes say 360 x 480, the image server 361 x 480"
    assert metadata["sizes"] == [[300, 400], [150, 200], [75, 100]]
    assert "!1024,1024: the image server refused it" in str(metadata["left_out"])


@pytest.mark.parametrize("channels", [USE_ORIGINAL, "thumbs:default"])
def test_a_server_that_tells_of_another_picture_is_not_believed(pipeline: Pipeline, channels: str) -> None:
    pipeline.image_server.refusing["/info.json"] = (200, json.dumps({"width": 470, "height": 320}))
    status = pipeline.ingest("2/1/page", pipeline.upload("2/1/page", turned_jpeg()), channels)
    assert (status.state, status.error_code) == ("failed", "thumbnail_wrong_size")
    assert pipeline.thumbs("2/1/page/") == {}


def test_an_address_where_there_is_no_image_server_is_called_so(pipeline: Pipeline) -> None:
    pipeline.use(image_server_url=pipeline.origin.url)
    status = pipeline.ingest("2/1/page", pipeline.upload("2/1/page", jpeg(480, 360)), DEFAULT)
    assert (status.state, status.error_code) == ("failed", "image_server_wrong_address")
    assert status.error_remedy == "Correct DLCS_IMAGE_SERVER_URL and DLCS_IMAGE_SERVER_PATH."
