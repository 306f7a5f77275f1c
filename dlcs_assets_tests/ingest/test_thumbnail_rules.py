"""Who may see which thumbnail, what goes when they are made again, and pictures that are small or turned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.ingest.odd_pictures import SMALL, standing, turned_jpeg
from dlcs_stack.stack import RunningStack
from dlcs_testing.installation import full_message
from dlcs_testing.looking import decoded, shows
from dlcs_testing.pictures import drawing, encoded, jpeg
from dlcs_testing.pipeline import Pipeline, running_pipeline

if TYPE_CHECKING:
    pass

DEFAULT, USE_ORIGINAL = "iiif-img:default,thumbs:default", "iiif-img:use-original,thumbs:default"
SIZES = [[480, 360], [400, 300], [200, 150], [100, 75]]

RESTRICTIONS: list[tuple[str, dict[str, Any], int]] = [
    # id, fields of the message, how many of the four sizes are open
    ("2/1/no-roles", {}, 4),
    ("2/1/roles-alone", {"roles": ["clinical"]}, 0),
    ("2/1/roles-and-limit", {"roles": ["clinical"], "maxUnauthorised": 200}, 2),
    ("2/1/limit-alone", {"maxUnauthorised": 400}, 3),
    ("2/1/limit-zero", {"roles": ["clinical"], "maxUnauthorised": 0}, 0),
    ("2/1/unlimited-with-roles", {"roles": ["clinical"], "maxUnauthorised": -1}, 0),
]


@pytest.fixture(scope="module")
def many(services: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Ingest everything that needs one look only, in one run."""
    with running_pipeline(services, tmp_path_factory.mktemp("thumbnails")) as pipeline:
        url = pipeline.serve("page.jpg", jpeg(480, 360))
        for image, fields, _ in RESTRICTIONS:
            pipeline.send(full_message(image, url, "thumbs:default", **fields))
        for image, width, height in SMALL:
            small = pipeline.serve(f"{width}x{height}.png", encoded(drawing(width, height), "PNG"))
            pipeline.send(full_message(image, small, DEFAULT))
        turned = pipeline.serve("turned.jpg", turned_jpeg())
        pipeline.send(full_message("2/1/turned-default", turned, DEFAULT))
        pipeline.send(full_message("2/1/turned-use-original", turned, USE_ORIGINAL))
        pipeline.settle()
        assert set(pipeline.states().values()) == {"done"}
        yield pipeline


def sizes_of(pipeline: Pipeline, image: str) -> dict[str, list[list[int]]]:
    sizes: dict[str, list[list[int]]] = json.loads(pipeline.thumbs(f"{image}/s.json")[f"{image}/s.json"].data)
    return sizes


def keys_of(pipeline: Pipeline, image: str) -> set[str]:
    return {key.removeprefix(f"{image}/") for key in pipeline.thumbs(f"{image}/")}


@pytest.mark.parametrize(("image", "fields", "open_sizes"), RESTRICTIONS)
def test_thumbnails_are_split_by_who_may_see_them(
    many: Pipeline, image: str, fields: dict[str, Any], open_sizes: int
) -> None:
    restricted, public = SIZES[: 4 - open_sizes], SIZES[4 - open_sizes :]
    assert sizes_of(many, image) == {"o": public, "a": restricted}, fields
    keys = {f"open/{width}.jpg" for width, _ in public} | {f"auth/{width}.jpg" for width, _ in restricted}
    assert keys_of(many, image) == keys | {"s.json"}


@pytest.mark.parametrize(("image", "fields", "open_sizes"), RESTRICTIONS)
def test_only_a_picture_that_anyone_may_see_is_shown(
    many: Pipeline, image: str, fields: dict[str, Any], open_sizes: int
) -> None:
    (shown,) = [
        each.picture for each in many.done if str(each.item.asset_id) == image and each.result.stage is Stage.THUMBNAILS
    ]
    assert (shown is not None) is (open_sizes > 0), fields


@pytest.mark.parametrize(("image", "width", "height"), SMALL)
def test_an_image_smaller_than_a_size_is_given_as_it_is_once(
    many: Pipeline, image: str, width: int, height: int
) -> None:
    sizes = sizes_of(many, image)
    assert sizes["a"] == []
    assert sizes["o"][0] == [width, height]
    assert len(sizes["o"]) == len({max(size) for size in sizes["o"]})
    assert keys_of(many, image) == {f"open/{max(size)}.jpg" for size in sizes["o"]} | {"s.json"}
    for size in sizes["o"]:
        assert decoded(many.thumbs()[f"{image}/open/{max(size)}.jpg"].data).size == tuple(size)


@pytest.mark.parametrize("image", ["2/1/turned-default", "2/1/turned-use-original"])
def test_a_turned_picture_is_measured_and_shown_upright(many: Pipeline, image: str) -> None:
    assert sizes_of(many, image)["o"] == [[360, 480], [300, 400], [150, 200], [75, 100]]
    assert shows(many.thumbs()[f"{image}/open/480.jpg"].data, standing())
    status = many.status(image).to_json()
    assert (status["width"], status["height"]) == (360, 480)


def test_the_jp2_of_a_turned_picture_stands_upright(many: Pipeline) -> None:
    assert decoded(many.storage()["2/1/turned-default"].data).size == (360, 480)


def test_a_lower_limit_moves_thumbnails_from_open_to_auth(pipeline: Pipeline) -> None:
    url = pipeline.serve("page.jpg", jpeg(480, 360))
    pipeline.ingest("2/1/page", url, "thumbs:default")
    assert keys_of(pipeline, "2/1/page") == {"s.json", "open/480.jpg", "open/400.jpg", "open/200.jpg", "open/100.jpg"}
    pipeline.ingest("2/1/page", url, "thumbs:default", maxUnauthorised=150)
    assert sizes_of(pipeline, "2/1/page") == {"o": SIZES[3:], "a": SIZES[:3]}
    assert keys_of(pipeline, "2/1/page") == {"s.json", "auth/480.jpg", "auth/400.jpg", "auth/200.jpg", "open/100.jpg"}


def test_a_short_message_leaves_a_restricted_image_restricted(pipeline: Pipeline) -> None:
    url = pipeline.serve("page.jpg", jpeg(480, 360))
    pipeline.ingest("2/1/page", url, "thumbs:default", roles=["clinical"])
    pipeline.send({"id": "2/1/page"}, {"asset": {"id": "2/1/page", "origin": url}})
    pipeline.settle()
    assert sizes_of(pipeline, "2/1/page") == {"o": [], "a": SIZES}


def test_what_earlier_sizes_left_is_removed_and_no_neighbours(pipeline: Pipeline) -> None:
    """What another system left under the same id goes, too."""
    bucket = pipeline.settings.thumbs_bucket
    stale = ["low.jpg", "full/400,300/0/default.jpg", "open/1024.jpg", "auth/400.jpg"]
    for name in stale:
        pipeline.put(bucket, f"2/1/page/{name}")
    pipeline.put(bucket, "2/1/page-2/open/1024.jpg")
    pipeline.put(bucket, "2/1/page/readme.txt", content_type="text/plain")
    pipeline.put(pipeline.settings.storage_bucket, "2/1/page/info/cantaloupe/v3/info.json")
    pipeline.put(pipeline.settings.storage_bucket, "2/1/page-2/info/cantaloupe/v3/info.json")
    pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), "thumbs:default")
    kept = {"s.json", "readme.txt", *(f"open/{width}.jpg" for width, _ in SIZES)}
    assert keys_of(pipeline, "2/1/page") == kept
    assert keys_of(pipeline, "2/1/page-2") == {"open/1024.jpg"}
    assert set(pipeline.storage()) == {"2/1/page-2/info/cantaloupe/v3/info.json"}


def test_a_size_of_a_setting_that_would_enlarge_is_named(
    services: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sizes = ("2000,", "^600,", "!60,60")
    with running_pipeline(services, tmp_path_factory.mktemp("sizes"), default_thumbnail_sizes=sizes) as pipeline:
        pipeline.ingest("2/1/page", pipeline.serve("page.jpg", jpeg(480, 360)), "iiif-img:default")
        assert sizes_of(pipeline, "2/1/page") == {"o": [[600, 450], [60, 45]], "a": []}
        assert "2000,: would enlarge the image" in str(pipeline.facts("2/1/page", Stage.THUMBNAILS)["left_out"])
