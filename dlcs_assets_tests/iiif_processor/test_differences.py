"""What the npm package iiif-processor reads, how it rounds and what it makes of colours: the facts of a page of docs.

It is asked through our own client, next to the embedded image server, which does as Cantaloupe does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from dlcs_assets.clients.image_server import ImageServer, ThumbnailBytes
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import ImageServerKind
from dlcs_assets.domain.thumbnails import plan_thumbnails
from dlcs_stack.image_server.config import Config
from dlcs_testing.iiif_processor.running import iiif_processor, needs_node
from dlcs_testing.image_server_pictures import red_and_green_swapped
from dlcs_testing.image_server_service import listening
from dlcs_testing.looking import decoded, difference
from dlcs_testing.pictures import drawing, encoded

if TYPE_CHECKING:
    from PIL.Image import Image

pytestmark = needs_node

PAGE = Size(601, 433)
ORIENTATION, QUARTER_TURN = 0x0112, 6
SIZES = ("!1024,1024", "!400,400", "!500,500", "!200,200", "!700,100", "300,", ",299", "^900,", "^!800,800", "^,640")


def samples() -> dict[str, bytes]:
    from PIL import Image as PillowImage

    page = drawing(PAGE.width, PAGE.height)
    deep = page.convert("L").convert("I").point(lambda level: level * 257).convert("I;16")
    turned = PillowImage.Exif()
    turned[ORIENTATION] = QUARTER_TURN
    return {
        "jpeg": encoded(page, "JPEG", quality=95),
        "png": encoded(page, "PNG"),
        "tiff": encoded(page, "TIFF"),
        "webp": encoded(page, "WEBP", lossless=True),
        "gif": encoded(page, "GIF"),
        "bilevel": encoded(page.convert("1"), "TIFF"),
        "jp2": encoded(page, "JPEG2000"),
        "bmp": encoded(page, "BMP"),
        "text": b"no picture at all",
        "truncated": encoded(page, "JPEG", quality=95)[:9000],
        "turned": encoded(page, "JPEG", exif=turned),
        "deep": encoded(deep, "PNG"),
        "profile": encoded(page, "JPEG", quality=95, icc_profile=red_and_green_swapped()),
        "cmyk": encoded(page.convert("CMYK"), "TIFF"),
        "50% off? #1;2 (é) 'x'": encoded(page, "PNG"),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for name, data in samples().items():
        (folder / name).write_bytes(data)
    return folder


def client(url: str, **options: Any) -> ImageServer:
    return ImageServer(url=url, cache="", attempts=2, first_delay_seconds=0.001, **options)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Iterator[ImageServer]:
    with iiif_processor(folder) as url:
        server = client(url, kind=ImageServerKind.IIIF_PROCESSOR, reads_jp2=False)
        yield server
        server.close()


@pytest.fixture(scope="module")
def embedded(folder: Path) -> Iterator[ImageServer]:
    with listening(Config(path_roots=(folder,), workers=1)) as url:
        server = client(url)
        yield server
        server.close()


def thumbnail(server: ImageServer, name: str, parameter: str = "!300,300", image: Size = PAGE) -> Image:
    (ask,) = plan_thumbnails([parameter], image).asks
    answer = server.session().thumbnail(name, parameter, server.kind.size_parameter(ask), image)
    assert isinstance(answer, ThumbnailBytes)
    return decoded(answer.data)


def test_it_passes_for_an_image_server(theirs: ImageServer, embedded: ImageServer) -> None:
    for server in (theirs, embedded):
        server.check()
        assert server.is_up()


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "gif", "bilevel", "50% off? #1;2 (é) 'x'"])
def test_it_shows_these_formats_as_the_embedded_one_does(theirs: ImageServer, embedded: ImageServer, name: str) -> None:
    assert theirs.session().info(name) == PAGE
    assert difference(thumbnail(theirs, name), thumbnail(embedded, name)) < 3


@pytest.mark.parametrize("name", ["jp2", "bmp", "text"])
def test_it_reads_none_of_these_and_is_not_asked_twice(theirs: ImageServer, name: str) -> None:
    with pytest.raises(PermanentError) as caught:
        thumbnail(theirs, name)
    assert caught.value.code == "source_unreadable"
    assert "Input buffer contains unsupported image format" in caught.value.cause


def test_it_calls_a_truncated_source_its_own_failure(theirs: ImageServer) -> None:
    with pytest.raises(TransientError, match="premature end of JPEG image"):
        thumbnail(theirs, "truncated")


def test_what_is_not_there_is_missing(theirs: ImageServer) -> None:
    for name in ("nothing", "../../etc/passwd", "/etc/passwd"):
        with pytest.raises(TransientError) as caught:
            theirs.session().info(name)
        assert caught.value.code == "image_server_source_missing"


@pytest.mark.parametrize("parameter", SIZES)
def test_every_size_of_a_policy_has_the_expected_pixels(theirs: ImageServer, parameter: str) -> None:
    (ask,) = plan_thumbnails([parameter], PAGE).asks
    assert thumbnail(theirs, "png", parameter).size == (ask.expected.width, ask.expected.height)


@pytest.mark.parametrize("size", ["!500,500", "!700,100", "!700,700", "700,"])
def test_it_refuses_a_box_with_an_edge_longer_than_the_image(theirs: ImageServer, size: str) -> None:
    """The reason for which it is asked for pixels: of the first two, the result would be smaller than the image."""
    answer = httpx.get(theirs.request_url("png", f"full/{size}/0/default.jpg"))
    assert (answer.status_code, answer.text) == (400, "Requested size requires upscaling")


def test_it_cuts_the_free_edge_off_where_the_embedded_one_rounds(theirs: ImageServer, embedded: ImageServer) -> None:
    urls = [server.request_url("png", "full/305,/0/default.jpg") for server in (theirs, embedded)]
    assert [decoded(httpx.get(url).content).size for url in urls] == [(305, 219), (305, 220)]


def test_it_rotates_by_orientation_as_the_embedded_one_does(theirs: ImageServer, embedded: ImageServer) -> None:
    assert theirs.session().info("turned") == Size(433, 601)
    standing = Size(433, 601)
    pictures = [thumbnail(server, "turned", image=standing) for server in (theirs, embedded)]
    assert difference(*pictures) < 3


def test_sixteen_bits_become_eight_in_the_same_way(theirs: ImageServer, embedded: ImageServer) -> None:
    pictures = [thumbnail(server, "deep") for server in (theirs, embedded)]
    assert [picture.mode for picture in pictures] == ["RGB", "L"]
    assert difference(*pictures) < 3


def test_it_applies_a_profile_and_returns_srgb_without_one(theirs: ImageServer, embedded: ImageServer) -> None:
    pictures = [thumbnail(server, "profile") for server in (theirs, embedded)]
    assert difference(*pictures) < 3
    assert difference(pictures[0], thumbnail(theirs, "jpeg")) > 3
    assert not any("icc_profile" in picture.info for picture in pictures)


def test_it_sees_other_colours_in_cmyk_without_a_profile(theirs: ImageServer, embedded: ImageServer) -> None:
    """It assumes a press; the embedded one subtracts from white, as does what drew the sample."""
    apart = difference(thumbnail(theirs, "cmyk"), thumbnail(embedded, "cmyk"))
    assert 6 < apart < 30
