"""Thumbnails by an Appetiser with all its faults: the rows of the plan, odd sizes and pictures, and no image server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets_tests.ingest.odd_pictures import SMALL, standing, turned_jpeg
from dlcs_assets_tests.ingest.rows import (
    DEFAULT,
    JP2,
    LISTED_BUCKET,
    MAKING_THUMBNAILS,
    SIZES,
    USE_ORIGINAL,
    Row,
    check_done,
    ingest_rows,
    is_of,
)
from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_stack.stack import RunningStack
from dlcs_testing.appetiser_service import served
from dlcs_testing.looking import decoded, shows
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline, running_pipeline
from dlcs_testing.proxy import Proxy, proxy_to
from dlcs_testing.scripted_server import Answer, Asked, scripted_server

if TYPE_CHECKING:
    from PIL.Image import Image

BY_APPETISER: dict[str, Any] = {"thumbnails_by": ThumbnailMaker.APPETISER}
of_every_row = pytest.mark.parametrize("row", MAKING_THUMBNAILS, ids=str)


@pytest.fixture(scope="module")
def appetiser(services: RunningStack) -> Iterator[Proxy]:
    """Serve as Appetiser itself does, and remember what is asked."""
    with (
        served(AppetiserConfig(workers=2, faults=True, roots=(services.data / "scratch",))) as service,
        proxy_to(str(service.client.base_url).rstrip("/")) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def pipeline(services: RunningStack, appetiser: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Ingest one image per row while there is no image server."""
    settings = {**BY_APPETISER, "appetiser_url": appetiser.url, "s3_origin_buckets": (LISTED_BUCKET,)}
    with running_pipeline(services, tmp_path_factory.mktemp("appetiser"), **settings) as pipeline:
        pipeline.image_server.stop()
        pipeline.make_bucket(LISTED_BUCKET)
        ingest_rows(pipeline, MAKING_THUMBNAILS)
        yield pipeline


def asked_of(appetiser: Proxy, row: Row) -> list[dict[str, Any]]:
    bodies = [json.loads(each.body) for each in appetiser.asked if each.path == "/convert"]
    return [body for body in bodies if body["imageId"] == row.image.rpartition("/")[2]]


@of_every_row
def test_every_row_has_the_thumbnails_that_an_image_server_makes(pipeline: Pipeline, row: Row) -> None:
    check_done(pipeline, row)


@of_every_row
def test_what_is_stored_is_what_the_row_says(pipeline: Pipeline, row: Row) -> None:
    stored = {key: each.content_type for key, each in pipeline.storage(row.image).items() if is_of(row, key)}
    assert stored == {f"{row.image}{suffix}": content_type for suffix, content_type in row.stored.items()}
    assert tuple(pipeline.status(row.image).stages[stage].outcome for stage in Stage) == row.outcomes


@pytest.mark.parametrize("row", [row for row in MAKING_THUMBNAILS if row.format == JP2], ids=str)
def test_a_jp2_goes_by_a_name_by_which_appetiser_knows_it(pipeline: Pipeline, appetiser: Proxy, row: Row) -> None:
    """By any other name it would be encoded again."""
    assert {Path(body["source"]).suffix for body in asked_of(appetiser, row)} == {".jp2"}
    assert pipeline.storage(row.image)[row.image].data == row.bytes


@of_every_row
def test_all_sizes_are_asked_for_at_once_by_their_pixels(pipeline: Pipeline, appetiser: Proxy, row: Row) -> None:
    *conversions, thumbnails = asked_of(appetiser, row)
    assert [body["operation"] for body in conversions] == ["image-only"] * row.converts
    assert thumbnails["operation"] == "derivatives-only"
    assert thumbnails["thumbIIIFSizes"] == [f"^{width},{height}" for width, height in SIZES]
    metadata = pipeline.facts(row.image, Stage.THUMBNAILS)
    assert metadata["made_by"] == "Appetiser, from what is stored"
    of_jp2 = row.read == "jp2" or row.format == JP2
    assert metadata["size_from"] == ("the JP2's header" if of_jp2 else "the original's header")


def test_no_image_server_is_asked_and_nothing_is_left(pipeline: Pipeline) -> None:
    assert pipeline.image_server.asked == []
    assert pipeline.storage("transient/") == {}
    assert pipeline.left_in_scratch() == []


@pytest.mark.parametrize("plan", ["1", "5", "7", "8"])
def test_thumbnails_made_again_alone_have_their_source_brought(pipeline: Pipeline, plan: str) -> None:
    row = next(row for row in MAKING_THUMBNAILS if row.plan == plan)
    request = pipeline.request_of(row.image, Stage.THUMBNAILS)
    (ended,) = pipeline.run_by_hand(row.image, stages=[Stage.THUMBNAILS])
    assert ended.state is RequestState.DONE
    assert pipeline.request_of(row.image, Stage.THUMBNAILS) != request
    assert "from" in pipeline.facts(row.image, Stage.THUMBNAILS)["brought_to_disk"]


@pytest.mark.parametrize(("image", "width", "height"), SMALL)
def test_an_image_smaller_than_a_size_is_given_as_it_is(
    pipeline: Pipeline, image: str, width: int, height: int
) -> None:
    url = pipeline.serve(f"{width}x{height}.png", encoded(drawing(width, height), "PNG"))
    assert pipeline.ingest(image, url, DEFAULT).state == "done"
    sizes = json.loads(pipeline.thumbs(f"{image}/s.json")[f"{image}/s.json"].data)["o"]
    assert sizes[0] == [width, height]
    assert len(sizes) == len({max(size) for size in sizes})
    for size in sizes:
        assert decoded(pipeline.thumbs()[f"{image}/open/{max(size)}.jpg"].data).size == tuple(size)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("^!600,600", [600, 450]),  # which Appetiser refuses
        ("!400,100", [133, 100]),  # it respects one edge of it
        ("!480,360", [480, 360]),  # which it drops
        ("!9000,400", [480, 360]),
        ("480,", [480, 360]),
        (",100", [133, 100]),
        ("^960,", [960, 720]),
        ("^,720", [960, 720]),
    ],
)
def test_sizes_that_appetiser_gets_wrong_are_right(pipeline: Pipeline, parameter: str, expected: list[int]) -> None:
    pipeline.use(default_thumbnail_sizes=(parameter,))
    image = f"2/2/{parameter.encode().hex()}"
    url = pipeline.serve("sized.jpg", jpeg(480, 360))
    assert pipeline.ingest(image, url, "iiif-img:use-original").state == "done"
    assert json.loads(pipeline.thumbs(f"{image}/s.json")[f"{image}/s.json"].data)["o"] == [expected]
    assert shows(pipeline.thumbs()[f"{image}/open/{max(expected)}.jpg"].data, drawing(480, 360))


def test_a_size_that_no_jpeg_can_have_is_left_out_by_name(pipeline: Pipeline) -> None:
    pipeline.use(default_thumbnail_sizes=("^70000,", "!100,100", "900,"))
    assert pipeline.ingest("2/2/large", pipeline.serve("sized.jpg", jpeg(480, 360)), USE_ORIGINAL).state == "done"
    left_out = "; ".join(pipeline.facts("2/2/large", Stage.THUMBNAILS)["left_out"])
    assert "^70000,: no JPEG of 70000x52500 is made" in left_out
    assert "900,: would enlarge the image" in left_out


def on_transparent() -> Image:
    image = drawing(480, 360).convert("RGBA")
    image.putalpha(255)
    image.putpixel((0, 0), (0, 0, 0, 0))
    return image


@pytest.mark.parametrize(
    ("image", "data", "picture"),
    [
        ("2/3/turned", turned_jpeg, standing),
        ("2/3/transparent", lambda: encoded(on_transparent(), "PNG"), lambda: drawing(480, 360)),
    ],
)
def test_what_derivatives_only_gets_wrong_is_made_from_a_jp2(
    pipeline: Pipeline, image: str, data: Callable[[], bytes], picture: Callable[[], Image]
) -> None:
    pipeline.use(default_thumbnail_sizes=("!400,400", "!100,100"))
    assert pipeline.ingest(image, pipeline.serve(f"{image}.bin", data()), USE_ORIGINAL).state == "done"
    assert shows(pipeline.thumbs()[f"{image}/open/400.jpg"].data, picture())
    metadata = pipeline.facts(image, Stage.THUMBNAILS)
    assert metadata["made_by"] == "Appetiser, by way of a JP2 that is not kept"
    assert (metadata["width"], metadata["height"]) == picture().size
    assert set(pipeline.storage(image)) == {f"{image}/original"}


def test_what_appetiser_cannot_make_fails_with_its_words(pipeline: Pipeline) -> None:
    url = pipeline.serve("palette.png", encoded(drawing(480, 360).convert("P"), "PNG"))
    status = pipeline.ingest("2/3/palette", url, USE_ORIGINAL)
    assert (status.state, status.error_code) == ("failed", "conversion_failed")
    assert status.error_cause == "Appetiser refused: image_mode 'P' is not in known list for kdu_compress"
    assert "have thumbnails made by the image server (DLCS_THUMBNAILS_BY)" in str(status.error_remedy)


def test_an_appetiser_that_is_down_costs_no_attempt(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline(**BY_APPETISER)
    pipeline.appetiser.stop()
    pipeline.ingest_once("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), USE_ORIGINAL)
    status = pipeline.status("2/1/page")
    assert (status.state, status.attempts) == ("pending", 0)
    assert status.stages.keys() == set(STAGES[:2])
    pipeline.appetiser.start()
    pipeline.settle()
    assert pipeline.status("2/1/page").state == "done"


def test_thumbnails_of_another_picture_are_not_published(make_pipeline: Callable[..., Pipeline]) -> None:
    names = {f"page_{width}_{height}.jpg": (width, height) for width, height in SIZES}
    thumbs = [{"path": f"/there/{name}", "width": size[0], "height": size[1]} for name, size in names.items()]

    def write(asked: Asked) -> None:
        for name, size in names.items():
            (Path(json.loads(asked.body)["thumbDir"]) / name).write_bytes(encoded(drawing(*size, seed=9)))

    with scripted_server(Answer(200, json.dumps({"thumbs": thumbs}).encode())) as server:
        server.work = write
        pipeline = make_pipeline(**BY_APPETISER, appetiser_url=server.url)
        status = pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), USE_ORIGINAL)
    assert (status.state, status.error_code) == ("failed", "thumbnail_of_another_picture")
    assert pipeline.thumbs("2/1/page/") == {}
