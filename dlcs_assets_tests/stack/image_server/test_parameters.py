from __future__ import annotations

import pytest

from dlcs_stack.image_server.geometry import Box, Job, Limits, canonical_path, largest, resolve
from dlcs_stack.image_server.parameters import Version, parse_image_request
from dlcs_stack.image_server.refusal import ENLARGED_WITHOUT_CARET, RefusalError

NO_LIMITS = Limits(max_pixels=0, max_scale=0)
PAGE = (1609, 2398)


def job_of(
    picture: tuple[int, int], path: str = "full/max/0/default.jpg", version: Version = 3, limits: Limits = NO_LIMITS
) -> Job:
    return resolve(parse_image_request(version, *path.split("/")), *picture, limits)


def size_of(picture: tuple[int, int], size: str, version: Version = 3, limits: Limits = NO_LIMITS) -> tuple[int, int]:
    return job_of(picture, f"full/{size}/0/default.jpg", version, limits).size


@pytest.mark.parametrize(
    ("picture", "size", "expected"),
    [
        # The DLCS's table of engines: what Cantaloupe gives.
        ((4553, 5668), "400,", (400, 498)),
        ((500, 500), "!1000,100", (100, 100)),
        ((1001, 1500), ",400", (267, 400)),
        ((300, 150), "^!400,400", (400, 200)),
        ((1280, 752), "!1000,2000", (1000, 588)),
        ((300, 150), "!1000,100", (200, 100)),
        ((1280, 752), ",400", (681, 400)),
        ((3508, 2480), "400,", (400, 283)),
        (PAGE, "!1000,1000", (671, 1000)),
        # An edge is at least one pixel.
        ((3, 1000), "!100,100", (1, 100)),
        ((800, 600), "!800,800", (800, 600)),
        ((800, 600), "800,", (800, 600)),
        ((800, 600), "100,300", (100, 300)),
        ((800, 600), "pct:50", (400, 300)),
        ((800, 600), "^pct:150", (1200, 900)),
        ((800, 600), "^1600,", (1600, 1200)),
        ((800, 600), "^100,", (100, 75)),
        ((800, 600), "max", (800, 600)),
        ((5, 5), "pct:50", (3, 3)),
    ],
)
def test_a_size_rounds_half_up_from_the_full_dimensions(
    picture: tuple[int, int], size: str, expected: tuple[int, int]
) -> None:
    assert size_of(picture, size) == expected


@pytest.mark.parametrize("size", ["801,", ",601", "!900,900", "801,600", "pct:101", "800,601"])
def test_enlarging_without_a_caret_is_a_400_in_version_3_only(size: str) -> None:
    """Version 2 of the Image API knows no caret: there the enlarged size is served."""
    with pytest.raises(RefusalError) as caught:
        size_of((800, 600), size)
    assert (caught.value.status, caught.value.message) == (400, ENLARGED_WITHOUT_CARET)
    assert max(size_of((800, 600), size, version=2)) >= 601


def test_a_scale_above_the_maximum_is_refused_as_by_cantaloupe() -> None:
    """400 in version 3 and 403 in version 2, with the message from which the client concludes what to do."""
    limits = Limits(max_pixels=0, max_scale=1)
    message = "Requests for scales in excess of 100% are not allowed."
    for version, size, status in ((3, "^900,", 400), (2, "900,", 403)):
        with pytest.raises(RefusalError) as caught:
            size_of((800, 600), size, version=version, limits=limits)  # type: ignore[arg-type]  # 2 and 3 are versions
        assert (caught.value.status, caught.value.message) == (status, message)
    with pytest.raises(RefusalError, match="in excess of 150%"):
        size_of((800, 600), "^1300,", limits=Limits(max_pixels=0, max_scale=1.5))
    assert size_of((800, 600), "^1200,", limits=Limits(max_pixels=0, max_scale=1.5)) == (1200, 900)


def test_max_stays_within_the_pixel_limit_and_others_are_refused() -> None:
    """Any other size beyond the limit is a 403; a small image may be enlarged up to it."""
    limits = Limits(max_pixels=10_000, max_scale=0)
    width, height = size_of((800, 600), "max", limits=limits)
    assert (width, height) == (115, 86)
    with pytest.raises(RefusalError) as caught:
        size_of((800, 600), "400,", limits=limits)
    assert caught.value.status == 403
    assert largest(50, 40, limits) == (50, 40)
    assert size_of((50, 40), "^max", limits=limits) == (111, 89)


def test_version_2_knows_full_and_no_caret() -> None:
    assert size_of((800, 600), "full", version=2) == (800, 600)
    assert size_of((800, 600), "max", version=2) == (800, 600)
    for version, size in ((3, "full"), (2, "^900,")):
        with pytest.raises(RefusalError) as caught:
            size_of((800, 600), size, version=version)  # type: ignore[arg-type]  # 2 and 3 are versions
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ("full", Box(0, 0, 1000, 600)),
        ("square", Box(200, 0, 600, 600)),
        ("10,20,30,40", Box(10, 20, 30, 40)),
        ("900,500,500,500", Box(900, 500, 100, 100)),
        ("pct:10,20,30.5,40", Box(100, 120, 305, 240)),
        ("pct:0,0,.001,.001", Box(0, 0, 1, 1)),
    ],
)
def test_a_region_is_cut_to_the_image(region: str, box: Box) -> None:
    assert job_of((1000, 600), f"{region}/max/0/default.jpg").box == box


@pytest.mark.parametrize(
    "path",
    [
        "1000,0,10,10/max/0/default.jpg",
        "0,0,0,10/max/0/default.jpg",
        "pct:0,0,10,0/max/0/default.jpg",
        "0,0,10/max/0/default.jpg",
        "-1,0,10,10/max/0/default.jpg",
        "Full/max/0/default.jpg",
        "full//0/default.jpg",
        "full/,/0/default.jpg",
        "full/!100,/0/default.jpg",
        "full/0,/0/default.jpg",
        "full/10.5,/0/default.jpg",
        "full/^^10,/0/default.jpg",
        "full/ 10,/0/default.jpg",
        "full/\u0661\u0660,/0/default.jpg",
        "full/pct:0/0/default.jpg",
        "full/pct:1e2/0/default.jpg",
        "full/max/361/default.jpg",
        "full/max/-90/default.jpg",
        "full/max/90!/default.jpg",
        "full/max//default.jpg",
        "full/max/0/native.jpg",
        "full/max/0/default",
        "full/max/0/jpg",
        "full/" + "9" * 40 + ",/0/default.jpg",
    ],
)
def test_what_the_image_api_does_not_allow_is_a_400(path: str) -> None:
    with pytest.raises(RefusalError) as caught:
        job_of((1000, 600), path)
    assert caught.value.status == 400


def test_an_output_format_that_is_not_offered_is_a_415() -> None:
    with pytest.raises(RefusalError) as caught:
        job_of((1000, 600), "full/max/0/default.jp2")
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("version", "path", "canonical"),
    [
        (3, "full/max/0/default.jpg", "full/max/0/default.jpg"),
        (3, "0,0,1000,600/1000,/360/color.png", "full/max/0/default.png"),
        (3, "full/500,/!90.50/gray.jpg", "full/500,300/!90.5/gray.jpg"),
        (3, "pct:0,0,50,50/^1000,/0/default.jpg", "0,0,500,300/^1000,600/0/default.jpg"),
        (2, "full/max/0/default.jpg", "full/full/0/default.jpg"),
        (2, "full/!500,500/0/default.jpg", "full/500,/0/default.jpg"),
        (2, "full/500,500/0/default.jpg", "full/500,500/0/default.jpg"),
    ],
)
def test_each_version_has_its_canonical_form(version: Version, path: str, canonical: str) -> None:
    job = job_of((1000, 600), path, version)
    assert canonical_path(version, job, 1000, 600, NO_LIMITS) == canonical
