"""The server that behaves as Cantaloupe 5.0.6: each line of what was measured of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image, ImageCms  # noqa: TID253 (these tests are about pictures)

from dlcs_assets_tests.stack.image_server.conftest import Server, serving
from dlcs_stack.image_server.config import Config
from dlcs_testing.image_server_pictures import (
    BLUE,
    CORNERS,
    GREEN,
    RED,
    XMP_UUID,
    alike,
    corners,
    decoded,
    encoded,
    exif,
    pixel,
    quadrants,
    red_and_green_swapped,
    stored,
    with_uuid_box,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIRRORED = (2, 4, 5, 7)

SMALL, OWN = "full/60,/0/default.jpg", "full/max/0/default.jpg"


@pytest.fixture(scope="module")
def cantaloupe(config: Config, s3: S3Client) -> Iterator[Server]:
    with serving(replace(config, like_cantaloupe=True), s3) as running:
        yield running


def fetched(server: Server, body: bytes, asked: str = OWN) -> Image.Image:
    answer = answered(server, body, asked)
    assert answer.status_code == 200, answer.text
    return decoded(answer.content)


def answered(server: Server, body: bytes, asked: str = OWN) -> httpx.Response:
    return server.get(server.put("2/1/picture", body), asked)


def size_of(server: Server, body: bytes) -> tuple[int, int]:
    document = server.get(server.put("2/1/picture", body), "info.json").json()
    return document["width"], document["height"]


def noise(width: int = 300, height: int = 200) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_mirrored_pictures_are_not_turned(cantaloupe: Server, kind: str, orientation: int) -> None:
    body = encoded(stored(orientation), kind, exif=exif(orientation), quality=95)
    as_stored = stored(orientation)
    shown = as_stored if orientation in MIRRORED else quadrants(120, 80)
    picture = fetched(cantaloupe, body)
    assert picture.size == size_of(cantaloupe, body) == shown.size
    assert alike(corners(picture), corners(shown))
    assert alike(corners(fetched(cantaloupe, body, SMALL)), corners(shown), 25)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_png_is_never_turned(cantaloupe: Server, orientation: int) -> None:
    body = encoded(stored(orientation), "PNG", exif=exif(orientation))
    picture = fetched(cantaloupe, body)
    assert picture.size == size_of(cantaloupe, body) == stored(orientation).size
    assert alike(corners(picture), corners(stored(orientation)))


def test_a_jp2_is_turned_but_never_mirrored(cantaloupe: Server) -> None:
    for orientation, shown in ((6, quadrants(120, 80)), (5, stored(5))):
        xmp = f'<x tiff:Orientation="{orientation}"/>'.encode()
        body = with_uuid_box(encoded(stored(orientation), "JPEG2000"), XMP_UUID, xmp)
        assert alike(corners(fetched(cantaloupe, body)), corners(shown))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_white_at_every_scaled_size(cantaloupe: Server, kind: str) -> None:
    body = encoded(quadrants(120, 80).convert("CMYK"), kind)
    assert fetched(cantaloupe, body, SMALL).getextrema() == ((255, 255),) * 3
    assert fetched(cantaloupe, body).mode == "CMYK"


def test_cmyk_with_a_profile_has_its_colours(cantaloupe: Server) -> None:
    """Any profile counts, also one that turns out not to fit."""
    body = encoded(quadrants(120, 80).convert("CMYK"), "TIFF", icc_profile=red_and_green_swapped())
    picture = fetched(cantaloupe, body, SMALL)
    assert picture.mode == "RGB"
    assert picture.convert("L").getextrema() != (255, 255)


@pytest.mark.parametrize(
    ("size", "asked"), [((900, 4), "400,"), ((4, 900), ",400"), ((900, 40), "60,"), ((90, 2), "45,2")]
)
def test_a_picture_with_an_edge_below_three_pixels_is_blank(
    cantaloupe: Server, size: tuple[int, int], asked: str
) -> None:
    picture = fetched(cantaloupe, encoded(Image.new("RGB", size, RED), "PNG"), f"full/{asked}/0/default.jpg")
    assert min(picture.size) < 4
    assert (picture.getextrema() == ((0, 0),) * 3) == (min(picture.size) < 3)


def test_a_thin_picture_has_its_own_size_and_three_pixels(cantaloupe: Server) -> None:
    thin = encoded(Image.new("RGB", (90, 2), RED), "PNG")
    assert alike((pixel(fetched(cantaloupe, thin), (45, 1)),), (RED,))
    wide = encoded(Image.new("RGB", (900, 10), RED), "PNG")
    assert alike((pixel(fetched(cantaloupe, wide, "full/90,3/0/default.jpg"), (45, 1)),), (RED,))


@pytest.mark.parametrize("asked", ["400,", "!400,400", "pct:4"])
def test_an_edge_that_rounds_to_nothing_is_refused(cantaloupe: Server, asked: str) -> None:
    answer = answered(cantaloupe, encoded(Image.new("RGB", (9001, 9), RED), "PNG"), f"full/{asked}/0/default.jpg")
    assert (answer.status_code, answer.text) == (400, "Resulting pixel area is empty.")


def test_grey_with_alpha_in_a_png_fails(cantaloupe: Server) -> None:
    answer = answered(cantaloupe, encoded(Image.new("LA", (1200, 80), (90, 200)), "PNG"), SMALL)
    assert (answer.status_code, answer.text) == (500, "Index 1200 out of bounds for length 1200")


@pytest.mark.parametrize("kind", ["PNG", "JPEG2000"])
def test_a_truncated_png_or_jp2_is_the_servers_failure(cantaloupe: Server, kind: str) -> None:
    body = encoded(noise(), kind)
    assert answered(cantaloupe, body[: len(body) // 2], SMALL).status_code == 500


def test_a_truncated_jpeg_is_an_answer_that_breaks_off(cantaloupe: Server) -> None:
    body = encoded(noise(), "JPEG")
    path = f"/iiif/3/{cantaloupe.put('2/1/picture', body[: len(body) // 2])}/{SMALL}"
    with cantaloupe.client.stream("GET", path) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            answer.read()


def jpx() -> bytes:
    return encoded(quadrants(120, 80), "JPEG2000").replace(b"ftypjp2 \0\0\0\0jp2 ", b"ftypjpx \0\0\0\0jpx ", 1)


@pytest.mark.parametrize(
    "body",
    [
        encoded(quadrants(120, 80), "WEBP"),
        encoded(quadrants(120, 80), "TIFF", big_tiff=True),
        jpx(),
    ],
    ids=["WebP", "BigTIFF", "JPX"],
)
def test_some_formats_are_not_supported(cantaloupe: Server, server: Server, body: bytes) -> None:
    assert answered(cantaloupe, body).status_code == 501
    assert server.get(server.put("2/1/picture", body), OWN).status_code == 200


def test_the_alpha_of_a_jp2_is_dropped(cantaloupe: Server) -> None:
    body = encoded(Image.new("RGBA", (120, 80), (*BLUE, 0)), "JPEG2000")
    assert alike((pixel(fetched(cantaloupe, body, SMALL), (30, 20)),), (BLUE,))


def test_lab_is_shown_in_wrong_colours(cantaloupe: Server, server: Server) -> None:
    lab = ImageCms.profileToProfile(
        quadrants(120, 80), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    body = encoded(lab, "TIFF")
    assert not alike(corners(fetched(cantaloupe, body)), CORNERS, 40)
    assert alike(corners(fetched(server, body)), CORNERS, 20)


def test_floats_are_taken_to_reach_from_0_to_1(cantaloupe: Server) -> None:
    body = encoded(Image.new("F", (120, 80), 0.5), "TIFF")
    assert fetched(cantaloupe, body).getextrema()[0] in {127, 128, (127, 127)}


def test_bilevel_gives_a_jpeg_in_rgb(cantaloupe: Server) -> None:
    assert fetched(cantaloupe, encoded(Image.new("1", (120, 80), 1), "TIFF")).mode == "RGB"


def test_an_rgba_tiff_that_is_turned_is_bluish(cantaloupe: Server) -> None:
    body = encoded(stored(6).convert("RGBA"), "TIFF", exif=exif(6), compression="tiff_lzw")
    picture = fetched(cantaloupe, body)
    assert picture.size == (120, 80)
    assert alike(corners(picture)[:3], tuple(colour[::-1] for colour in (RED, GREEN, BLUE)))


def test_without_its_decoder_every_jp2_is_not_supported(serve: Callable[..., Server]) -> None:
    running = serve(like_cantaloupe=True, jp2_decoder=False)
    picture = quadrants(120, 80)
    for body in (encoded(picture, "JPEG2000"), encoded(picture, "JPEG2000", no_jp2=True)):
        assert answered(running, body, "info.json").status_code == 501
    assert answered(running, encoded(picture, "JPEG")).status_code == 200


def test_its_caches_give_the_old_picture_under_the_same_key(serve: Callable[..., Server]) -> None:
    """Also at a size that was not asked for before."""
    running = serve(like_cantaloupe=True, caching=True)
    red, blue = (encoded(Image.new("RGB", (120, 80), colour), "PNG") for colour in (RED, BLUE))
    key = running.put("2/1/cached", red)
    assert running.get(key, SMALL).status_code == 200
    running.put("2/1/cached", blue)
    for asked in (f"{SMALL}?cache=recache", "full/40,/0/default.jpg"):
        assert alike((pixel(decoded(running.get(key, asked).content), (5, 5)),), (RED,))


def test_health_is_forbidden(cantaloupe: Server) -> None:
    assert cantaloupe.client.get("/health").status_code == 403


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "GIF", "BMP", "JPEG2000"])
def test_everything_else_is_read_as_by_the_plain_server(cantaloupe: Server, server: Server, kind: str) -> None:
    body = encoded(quadrants(120, 80), kind)
    assert answered(cantaloupe, body, SMALL).content == answered(server, body, SMALL).content
