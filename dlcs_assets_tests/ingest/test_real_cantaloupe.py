"""Images on their whole way with an image server that is as Cantaloupe 5.0.6 is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import ImageServerKind
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.thumbnails import ThumbnailAsk
from dlcs_stack.image_server.config import Config
from dlcs_stack.stack import RunningStack
from dlcs_testing.image_server_service import listening
from dlcs_testing.installation import full_message
from dlcs_testing.looking import decoded, shows
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline


def oriented(orientation: int) -> Any:
    from PIL.Image import Exif

    exif = Exif()
    exif[0x0112] = orientation
    return exif


DEFAULT, USE_ORIGINAL = "iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"


@pytest.fixture(scope="module")
def start_cantaloupe(services: RunningStack) -> Iterator[Callable[..., str]]:
    """Start servers with settings of the test's own; return their URLs."""
    config = Config(
        services.environment["AWS_ENDPOINT_URL"],
        (services.data / "scratch",),
        workers=1,
        like_cantaloupe=True,
    )
    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        for name, value in services.environment.items():
            patch.setenv(name, value)
        yield lambda **settings: opened.enter_context(listening(replace(config, **settings)))


@pytest.fixture(scope="module")
def cantaloupe(start_cantaloupe: Callable[..., str]) -> str:
    return start_cantaloupe()


@pytest.fixture
def pipeline(cantaloupe: str, make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    return make_pipeline(image_server_url=cantaloupe, image_server_kind=ImageServerKind.CANTALOUPE)


def thumbnails(pipeline: Pipeline, image: str) -> dict[tuple[int, int], bytes]:
    """Return the thumbnails by the sizes that `s.json` says and they have."""
    found = {}
    for width, height in json.loads(pipeline.thumbs(f"{image}/s.json")[f"{image}/s.json"].data)["o"]:
        data = pipeline.thumbs(f"{image}/")[f"{image}/open/{max(width, height)}.jpg"].data
        assert decoded(data).size == (width, height)
        found[width, height] = data
    return found


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL])
@pytest.mark.parametrize("size", [(9001, 37), (9001, 9), (900, 2), (9, 3000), (2, 2), (1, 1)], ids=str)
def test_thumbnails_thinner_than_three_pixels_are_not_blank(
    pipeline: Pipeline, size: tuple[int, int], channels: str
) -> None:
    """Of those Cantaloupe gives a blank picture with status 200, or a 400 if an edge rounds to nothing."""
    colour = (200, 120, 40)
    picture = drawing(*size)
    picture.paste(colour, (0, 0, *size))
    url = pipeline.serve("thin.png", encoded(picture, "PNG"))
    assert pipeline.ingest("2/1/thin", url, channels).state == "done"
    for data in thumbnails(pipeline, "2/1/thin").values():
        seen = decoded(data).convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert isinstance(seen, tuple)
        assert all(abs(a - b) < 12 for a, b in zip(seen, colour, strict=True))


@pytest.mark.parametrize(
    ("image", "parameter", "expected", "asked"),
    [
        ((9001, 37), "400,", (400, 1), "400,3"),
        ((9001, 90), "!400,400", (400, 4), None),
        ((9001, 70), "!400,400", (400, 3), "400,3"),
        ((900, 2), "!400,400", (400, 1), "900,2"),
        ((900, 2), "^1800,", (1800, 4), "900,2"),
        ((300, 10), "^,3", (90, 3), "^90,3"),
        ((1, 1), "!100,100", (1, 1), None),
    ],
)
def test_what_is_asked_for_in_place_of_a_thin_thumbnail(
    image: tuple[int, int], parameter: str, expected: tuple[int, int], asked: str | None
) -> None:
    ask = ThumbnailAsk(parameter, parameter, Size(*expected))
    instead = ImageServerKind.CANTALOUPE.instead_of(ask, Size(*image))
    assert (instead.ask if instead else None) == asked
    assert ImageServerKind.IIIF_PROCESSOR.instead_of(ask, Size(*image)) in {None, instead}


def test_images_of_all_channels_have_their_thumbnails(pipeline: Pipeline) -> None:
    for number, channels in enumerate((DEFAULT, USE_ORIGINAL, "thumbs:default", "file,thumbs:default")):
        pipeline.send(full_message(f"2/2/{number}", pipeline.serve(f"{number}.jpg", jpeg(480, 360)), channels))
    pipeline.settle()
    assert set(pipeline.states().values()) == {"done"}


def test_an_original_that_it_does_not_read_is_refused_at_once(pipeline: Pipeline) -> None:
    """Before anything of it is stored, and not where the image server gets a JP2 of it."""
    url = pipeline.serve("page.webp", encoded(drawing(480, 360), "WEBP"))
    status = pipeline.ingest("2/3/served", url, USE_ORIGINAL)
    assert (status.state, status.error_code, status.attempts) == ("failed", "image_server_misreads", 1)
    assert "WebP" in str(status.error_cause)
    assert pipeline.storage("2/3/") == {}
    assert pipeline.ingest("2/3/converted", url, DEFAULT).state == "done"


def test_an_original_at_its_origin_is_refused_by_its_format(pipeline: Pipeline) -> None:
    origin = pipeline.upload("2/3/page", encoded(drawing(480, 360), "WEBP"))
    assert pipeline.ingest("2/3/at-origin", origin, "thumbs:default").error_code == "image_server_misreads"


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL])
def test_images_wait_while_it_has_no_decoder_of_jp2(
    start_cantaloupe: Callable[..., str],
    cantaloupe: str,
    make_pipeline: Callable[..., Pipeline],
    channels: str,
) -> None:
    """It answers 501 for every JP2, which is no fault of the original."""
    url = start_cantaloupe(jp2_decoder=False)
    pipeline = make_pipeline(image_server_url=url, image_server_kind=ImageServerKind.CANTALOUPE)
    pipeline.ingest_once("2/4/page", pipeline.serve("page.jp2", encoded(drawing(480, 360), "JPEG2000")), channels)
    status = pipeline.status("2/4/page")
    assert (status.state, status.attempts) == ("pending", 0)
    assert "a picture of ours of the same format" in str(status.reason)
    pipeline.use(image_server_url=cantaloupe)
    pipeline.settle()
    assert pipeline.status("2/4/page").state == "done"


MISREAD: dict[str, bytes] = {
    "mirrored.jpg": encoded(drawing(120, 90), "JPEG", exif=oriented(5)),
    "mirrored.tif": encoded(drawing(120, 90), "TIFF", exif=oriented(2)),
    "turned.png": encoded(drawing(120, 90), "PNG", exif=oriented(6)),
    "cmyk.jpg": encoded(drawing(120, 90, mode="CMYK"), "JPEG"),
    "cmyk.tif": encoded(drawing(120, 90, mode="CMYK"), "TIFF"),
    "grey-alpha.png": encoded(drawing(120, 90, mode="L").convert("LA"), "PNG"),
    "big.tif": encoded(drawing(120, 90), "TIFF", big_tiff=True),
    "turned-rgba.tif": encoded(drawing(120, 90).convert("RGBA"), "TIFF", exif=oriented(6)),
    "float.tif": encoded(drawing(120, 90, mode="L").convert("F").point(lambda level: level / 255), "TIFF"),
}


@pytest.mark.parametrize("name", MISREAD)
def test_what_it_would_show_wrong_is_refused_or_converted(pipeline: Pipeline, name: str) -> None:
    url = pipeline.serve(name, MISREAD[name])
    status = pipeline.ingest("2/6/served", url, USE_ORIGINAL)
    assert (status.state, status.error_code, status.attempts) == ("failed", "image_server_misreads", 1)
    assert "policy default" in str(status.error_remedy)
    assert pipeline.storage("2/6/") == {} == pipeline.thumbs("2/6/")
    converted = pipeline.ingest("2/6/converted", url, DEFAULT)
    assert (converted.state, converted.error_code) == ("done", None)


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL])
def test_a_jp2_with_alpha_is_refused_for_every_policy(pipeline: Pipeline, channels: str) -> None:
    """It is stored as it is, so that a conversion is no way out."""
    url = pipeline.serve("alpha.jp2", encoded(drawing(120, 90).convert("RGBA"), "JPEG2000"))
    status = pipeline.ingest("2/7/alpha", url, channels)
    assert (status.error_code, pipeline.storage("2/7/")) == ("image_server_misreads", {})


@pytest.mark.parametrize("name", ["page.jpg", "turned.jpg", "page.png", "page.tif", "page.jp2", "rgba.png"])
def test_what_it_reads_right_is_not_refused(pipeline: Pipeline, name: str) -> None:
    picture = drawing(120, 90).convert("RGBA") if name == "rgba.png" else drawing(120, 90)
    kind = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "jp2": "JPEG2000"}[name[-3:]]
    options = {"exif": oriented(6)} if name == "turned.jpg" else {}
    url = pipeline.serve(name, encoded(picture, kind, **options))
    assert pipeline.ingest("2/8/page", url, USE_ORIGINAL).state == "done"


@pytest.mark.parametrize("channels", [DEFAULT, USE_ORIGINAL])
def test_an_old_picture_from_its_cache_is_never_published(
    start_cantaloupe: Callable[..., str], make_pipeline: Callable[..., Pipeline], channels: str
) -> None:
    """Neither in an attempt, nor a retry, nor by a rerun of the thumbnails alone."""
    url = start_cantaloupe(caching=True)
    pipeline = make_pipeline(image_server_url=url, image_server_kind=ImageServerKind.CANTALOUPE, attempts=3)
    old, new = (drawing(480, 360, seed=seed) for seed in (1, 2))
    origin = pipeline.serve("page.png", encoded(old, "PNG"))
    assert pipeline.ingest("2/9/page", origin, channels).state == "done"
    pipeline.serve("page.png", encoded(new, "PNG"))
    pipeline.send(full_message("2/9/page", origin, channels))
    pipeline.settle()
    status = pipeline.status("2/9/page")
    assert (status.state, status.error_code) == ("failed", "thumbnail_of_another_picture")
    pipeline.retry("2/9/page")
    pipeline.run_by_hand("2/9/page", stages=[Stage.THUMBNAILS])
    pipeline.settle()
    assert pipeline.status("2/9/page").state == "failed"
    pipeline.use(image_server_url=start_cantaloupe())
    pipeline.retry("2/9/page")
    assert pipeline.status("2/9/page").state == "done"
    assert all(shows(data, new) for data in thumbnails(pipeline, "2/9/page").values())
