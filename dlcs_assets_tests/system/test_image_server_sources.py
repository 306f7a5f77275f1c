"""Names that are hard on identifiers, sources that are gone, and image servers that are wrong or are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from dlcs_assets.domain.image_servers import SourceAccess
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.system.running import running_system
from dlcs_assets_tests.system.test_thumbnail_rules import turned_jpeg
from dlcs_stack.stack import RunningStack
from dlcs_testing.harness import System, full_message
from dlcs_testing.looking import shows
from dlcs_testing.pictures import drawing, encoded, jpeg

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
HARD = {f"2/1/{name}": drawing(480, 360, seed=number + 1) for number, name in enumerate(NAMES)}
of_every_name = pytest.mark.parametrize("image", HARD)


@pytest.fixture(scope="module", params=SourceAccess)
def named(
    request: pytest.FixtureRequest, services: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Ingest each name as a JP2, and as an original that is served as it is."""
    with running_system(services, tmp_path_factory.mktemp("named"), image_server_sources=request.param) as system:
        for number, (image, picture) in enumerate(HARD.items()):
            url = system.serve(f"{number}.png", encoded(picture, "PNG"))
            system.send(full_message(image, url, DEFAULT if number % 2 else USE_ORIGINAL))
            at_origin = system.upload(f"3/1/{image[4:]}", encoded(picture, "PNG"))
            system.send(full_message(image.replace("2/1/", "3/1/"), at_origin, "thumbs:default"))
        system.settle()
        yield system


@of_every_name
def test_thumbnails_of_hard_names_show_their_own_pictures(named: System, image: str) -> None:
    assert named.status(image).state == "done"
    assert shows(named.thumbs(f"{image}/")[f"{image}/open/400.jpg"].data, HARD[image])


@of_every_name
def test_originals_with_hard_names_are_read_where_they_are(named: System, image: str) -> None:
    at_origin = image.replace("2/1/", "3/1/")
    status = named.status(at_origin)
    assert (status.state, status.stages[Stage.ORIGINAL].facts["plan"]) == ("done", "8")
    assert shows(named.thumbs(f"{at_origin}/")[f"{at_origin}/open/400.jpg"].data, HARD[image])


@pytest.mark.parametrize("sources", SourceAccess)
def test_a_source_that_vanishes_between_conversion_and_thumbnails_is_named(
    make_system: Callable[..., System], sources: SourceAccess
) -> None:
    system = make_system(image_server_sources=sources)
    system.image_server.stop()
    system.ingest_once("2/1/page", system.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    assert system.status("2/1/page").state == "pending"
    assert system.status("2/1/page").stages.keys() == {Stage.ORIGINAL, Stage.JP2}
    system.s3.delete_object(Bucket=system.settings.storage_bucket, Key="2/1/page")
    system.image_server.start()
    system.settle()
    status = system.status("2/1/page")
    assert (status.state, status.error_code) == ("failed", "source_missing")
    assert status.error_cause == "There is no 2/1/page in the storage bucket to make thumbnails from"
    assert status.error_remedy == "Materialize jp2 of this image, too"


def test_a_server_that_is_a_pixel_off_is_followed_and_its_size_noted(system: System) -> None:
    system.image_server.refusing["/info.json"] = (200, json.dumps({"width": 361, "height": 480}))
    url = system.serve("turned.jpg", turned_jpeg())
    assert system.ingest("2/1/page", url, USE_ORIGINAL).state == "done"
    metadata = system.metadata("2/1/page", Stage.THUMBNAILS)
    assert metadata["note"] == "The bytes say 360 x 480, the image server 361 x 480"
    assert metadata["sizes"] == "300 x 400, 150 x 200, 75 x 100"
    assert "!1024,1024: the image server refused it" in metadata["left_out"]


@pytest.mark.parametrize("channels", [USE_ORIGINAL, "thumbs:default"])
def test_a_server_that_tells_of_another_picture_is_not_believed(system: System, channels: str) -> None:
    system.image_server.refusing["/info.json"] = (200, json.dumps({"width": 470, "height": 320}))
    status = system.ingest("2/1/page", system.upload("2/1/page", turned_jpeg()), channels)
    assert (status.state, status.error_code) == ("failed", "thumbnail_wrong_size")
    assert system.thumbs("2/1/page/") == {}


def test_an_address_where_there_is_no_image_server_is_called_so(system: System) -> None:
    system.use(image_server_url=system.origin.url)
    status = system.ingest("2/1/page", system.serve("page.jpg", jpeg(480, 360)), DEFAULT)
    assert (status.state, status.error_code) == ("failed", "image_server_wrong_address")
    assert status.error_remedy == "Correct DLCS_IMAGE_SERVER_URL and DLCS_IMAGE_SERVER_PATH."
