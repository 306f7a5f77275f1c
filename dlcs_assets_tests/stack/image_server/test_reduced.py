"""Decoding at reduced resolution: the same picture, at exactly the size that the full dimensions give."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcs_assets_tests.stack.image_server.conftest import Server
from dlcs_stack.image_server.reading import Description, decode, describe
from dlcs_testing.image_server_pictures import (
    BLUE,
    CORNERS,
    GREEN,
    RED,
    YELLOW,
    alike,
    corners,
    decoded,
    encoded,
    quadrants,
)

TILED = {"tile_size": (1024, 1024), "num_resolutions": 7, "irreversible": True, "progression": "RPCL"}
THUMBNAILS = {
    (1609, 2398): {"!1024,1024": (687, 1024), "!400,400": (268, 400), "!200,200": (134, 200), "!100,100": (67, 100)},
    (1001, 1500): {",400": (267, 400), "!1024,1024": (683, 1024), "100,": (100, 150), "pct:50": (501, 750)},
    (4553, 5668): {"400,": (400, 498), "!1024,1024": (823, 1024), "!100,100": (80, 100)},
}


@pytest.fixture(scope="module", params=list(THUMBNAILS), ids=str)
def page(request: pytest.FixtureRequest, server: Server) -> tuple[str, tuple[int, int]]:
    size: tuple[int, int] = request.param
    return server.put("2/1/{}x{}".format(*size), encoded(quadrants(*size), "JPEG2000", **TILED)), size


def test_a_thumbnail_of_a_reduced_jp2_has_size_and_content(server: Server, page: tuple[str, tuple[int, int]]) -> None:
    """The rounding of each level must not shift the size by a pixel, nor the image by a tile."""
    encoded_id, full = page
    for size, expected in THUMBNAILS[full].items():
        picture = decoded(server.get(encoded_id, f"full/{size}/0/default.jpg").content)
        assert picture.size == expected, size
        assert alike(corners(picture), CORNERS)


def test_a_region_of_a_reduced_jp2_is_the_same_part_of_the_image(
    server: Server, page: tuple[str, tuple[int, int]]
) -> None:
    """The region is scaled with the level from which it is read."""
    encoded_id, (width, height) = page
    # Around the middle, where the four colours meet: half of it lies on either side.
    region = f"{width // 2 - 400},{height // 2 - 400},800,800"
    picture = decoded(server.get(encoded_id, f"{region}/100,/0/default.png").content)
    assert alike(corners(picture), CORNERS)
    left, right = picture.crop((0, 0, 49, 49)), picture.crop((51, 51, 100, 100))
    assert alike(corners(left), (RED,) * 4)
    assert alike(corners(right), (YELLOW,) * 4)


def test_sizes_in_info_json_are_the_levels_that_the_file_has(server: Server) -> None:
    for resolutions, factors in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4])):
        jp2 = encoded(quadrants(1609, 1100), "JPEG2000", num_resolutions=resolutions)
        info = server.get(server.put(f"2/1/levels-{resolutions}", jp2), "info.json").json()
        assert info["tiles"][0]["scaleFactors"] == factors
        assert len(info["sizes"]) == len(factors)


def test_pillow_decodes_a_jp2_at_every_level_for_every_size(tmp_path: Path) -> None:
    """Pins the work-around for Pillow's rounding: without it, most of these are "broken data streams"."""
    path = tmp_path / "page.jp2"
    for size in ((1609, 1398), (1001, 1500), (517, 333), (129, 1023)):
        path.write_bytes(encoded(quadrants(*size), "JPEG2000", num_resolutions=6))
        description = describe(str(path), 0)
        assert description.levels == 5
        for reduction in range(6):
            raster = decode(str(path), description, reduction)
            assert raster.factor == 2**reduction
            assert raster.image.size == tuple(-(-edge // 2**reduction) for edge in size)
            # At the lowest levels a wavelet reaches from one colour into the next.
            assert alike(corners(raster.image), CORNERS, tolerance=30)


def test_a_jp2_that_fails_at_a_level_is_decoded_in_full(tmp_path: Path) -> None:
    """A file may claim more levels than it has; it can be read nevertheless."""
    path = tmp_path / "page.jp2"
    path.write_bytes(encoded(quadrants(300, 200), "JPEG2000", num_resolutions=2))
    assert describe(str(path), 0).levels == 1
    claims_more = Description("JPEG2000", 300, 200, levels=5, native_levels=True, orientation=1)
    raster = decode(str(path), claims_more, 4)
    assert (raster.factor, raster.image.size) == (1, (300, 200))
    assert alike(corners(raster.image), CORNERS)


def test_reduction_is_limited_to_the_levels_of_the_file() -> None:
    description = Description("JPEG2000", 4000, 6000, levels=2, native_levels=True, orientation=1)
    assert [description.reduction_for(scale) for scale in (2, 1, 0.51, 0.5, 0.3, 0.25, 0.01)] == [0, 0, 0, 1, 1, 2, 2]


def test_a_jpeg_is_decoded_at_an_eighth_where_that_is_enough(server: Server, tmp_path: Path) -> None:
    body = encoded(quadrants(1609, 2398), "JPEG", quality=92)
    path = tmp_path / "page.jpg"
    path.write_bytes(body)
    raster = decode(str(path), describe(str(path), 0), 3)
    assert (raster.factor, raster.image.size) == (8, (202, 300))
    picture = decoded(server.get(server.put("2/1/jpeg", body), "full/!100,100/0/default.jpg").content)
    assert picture.size == (67, 100)
    assert alike(corners(picture), (RED, GREEN, BLUE, YELLOW))
