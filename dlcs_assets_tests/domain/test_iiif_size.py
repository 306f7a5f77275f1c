from __future__ import annotations

import re

import pytest

from dlcs_assets.domain.iiif_size import (
    InvalidSizeError,
    Size,
    is_size_asked,
    parse_size,
    resolve,
    size_to_ask,
    validate_policy_size,
)

Pair = tuple[int, int]
LANDSCAPE, PORTRAIT, SQUARE = (100, 50), (50, 100), (100, 100)


def pixels(image: Pair, text: str) -> Pair | None:
    size = resolve(parse_size(text), Size(*image))
    return (size.width, size.height) if size else None


@pytest.mark.parametrize("text", ["400,", ",10", "^10,", "^,400", "!400,400", "^!10,10", "!1000,100"])
def test_a_policy_may_hold_sizes_of_one_edge_or_of_a_box(text: str) -> None:
    assert validate_policy_size(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        *("max", "^max", "full", "pct:10", "^pct:10", "10,10", "^10,10", "!400,", "!,400", "^!400,", ",", "^,", "!,"),
        *("", "foo,bar", "441.6,", "400", "!^400,400", "400,400,400", " 400,", "400,\n", "٤,", "pct:0", "pct:"),
        # The DLCS's API lets these pass.
        *("0,", ",0", "!0,100", "-5,", "2147483648,", "99999999999999999999,"),
    ],
)
def test_any_other_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSizeError, match=re.escape(f"'{text}'")):
        validate_policy_size(text)


@pytest.mark.parametrize(
    ("text", "landscape", "portrait", "square"),
    [
        ("50,", (50, 25), (50, 100), (50, 50)),
        ("^50,", (50, 25), (50, 100), (50, 50)),
        ("^200,", (200, 100), (200, 400), (200, 200)),
        (",50", (100, 50), (25, 50), (50, 50)),
        ("^,50", (100, 50), (25, 50), (50, 50)),
        ("^,200", (400, 200), (100, 200), (200, 200)),
        ("!50,50", (50, 25), (25, 50), (50, 50)),
        ("^!50,50", (50, 25), (25, 50), (50, 50)),
        ("^!200,200", (200, 100), (100, 200), (200, 200)),
        ("50,50", (50, 50), (50, 50), (50, 50)),
        ("^50,50", (50, 50), (50, 50), (50, 50)),
        ("^200,200", (200, 200), (200, 200), (200, 200)),
        ("pct:50", (50, 25), (25, 50), (50, 50)),
        ("^pct:50", (50, 25), (25, 50), (50, 50)),
        ("^pct:200", (200, 100), (100, 200), (200, 200)),
        ("max", LANDSCAPE, PORTRAIT, SQUARE),
        # "Would enlarge" is an answer of its own here; iiif-net gives the original's size or an error.
        ("200,", None, None, None),
        (",200", None, None, None),
        ("200,200", None, None, None),
        ("pct:200", None, None, None),
        # iiif-net can make this one an error too; the image's own size is what readers expect.
        ("!200,200", LANDSCAPE, PORTRAIT, SQUARE),
    ],
)
def test_a_size_gives_the_pixels_that_readers_expect(
    text: str, landscape: Pair | None, portrait: Pair | None, square: Pair | None
) -> None:
    assert pixels(LANDSCAPE, text) == landscape
    assert pixels(PORTRAIT, text) == portrait
    assert pixels(SQUARE, text) == square


def test_the_largest_size_of_an_unknown_server_is_not_supported() -> None:
    with pytest.raises(InvalidSizeError, match=re.escape("^max")):
        parse_size("^max")


@pytest.mark.parametrize(
    ("image", "box", "expected"),
    [
        ((100, 100), (50, 50), (50, 50)),
        ((100, 100), (10, 50), (10, 10)),
        ((100, 100), (500, 600), (500, 500)),
        ((100, 100), (500, 300), (300, 300)),
        ((200, 100), (50, 50), (50, 25)),
        ((200, 100), (500, 600), (500, 250)),
        ((200, 100), (500, 500), (500, 250)),
        ((100, 200), (50, 50), (25, 50)),
        ((100, 200), (50, 10), (5, 10)),
        ((100, 200), (500, 500), (250, 500)),
        ((100, 200), (500, 300), (150, 300)),
    ],
)
def test_an_image_is_fitted_into_a_box(image: Pair, box: Pair, expected: Pair) -> None:
    assert pixels(image, f"^!{box[0]},{box[1]}") == expected


@pytest.mark.parametrize(
    ("image", "box", "expected"),
    [
        ((200, 200), (300, 300), (200, 200)),
        ((500, 400), (300, 300), (300, 240)),
        ((400, 500), (300, 300), (240, 300)),
        ((500, 500), (300, 200), (200, 200)),
        # Within the box already:
        *(((size), (10, 10), size) for size in [(5, 5), (5, 10), (10, 5)]),
        ((5, 10), (5, 10), (5, 10)),
        ((11, 11), (10, 10), (10, 10)),
    ],
)
def test_an_image_is_confined_to_a_box_but_not_enlarged(image: Pair, box: Pair, expected: Pair) -> None:
    assert pixels(image, f"!{box[0]},{box[1]}") == expected


@pytest.mark.parametrize(
    ("image", "text", "expected"),
    [
        # iiif-net cuts the free edge off; Appetiser and Cantaloupe round it.
        ((1001, 1500), ",400", (266, 400)),
        ((1280, 752), ",400", (680, 400)),
        ((3508, 2480), "400,", (400, 282)),
        ((4553, 5668), "400,", (400, 497)),
        ((300, 150), "^!400,400", (400, 200)),  # Appetiser refuses ^!
        # iiif-net compares the longest edges only, and gives the original for boxes such as these.
        ((500, 500), "!1000,100", (100, 100)),
        ((300, 150), "!1000,100", (200, 100)),
        ((1280, 752), "!1000,2000", (1000, 588)),
        # All others give an edge of 0.
        ((3, 1000), "!100,100", (1, 100)),
        ((1000, 3), "100,", (100, 1)),
        # iiif-net overflows 32 bits on the way.
        ((100_000, 90_000), "50000,", (50_000, 45_000)),
        # Halves go to even: 12.5 and 37.5.
        ((100, 25), "!50,50", (50, 12)),
        ((100, 75), "!50,50", (50, 38)),
    ],
)
def test_sizes_follow_iiif_where_implementations_differ(image: Pair, text: str, expected: Pair) -> None:
    assert pixels(image, text) == expected


def test_a_confined_size_fits_its_box_for_any_image() -> None:
    for width in range(1, 400, 7):
        for height in range(1, 400, 11):
            for text in ("!100,100", "!37,91", "^!250,60"):
                parameter, size = parse_size(text), resolve(parse_size(text), Size(width, height))
                assert size is not None
                assert 1 <= size.width <= (parameter.width or 0)
                assert 1 <= size.height <= (parameter.height or 0)


@pytest.mark.parametrize(
    ("image", "text", "ask"),
    [
        ((800, 600), "!1024,1024", "800,"),
        ((800, 600), "!800,800", "800,"),
        ((800, 600), "!800,600", "800,"),
        ((800, 600), "!400,400", "!400,400"),
        ((800, 600), "!1000,100", "!1000,100"),
        ((800, 600), "^!1024,1024", "^!1024,1024"),
        ((800, 600), "800,", "800,"),
    ],
)
def test_an_image_within_its_box_is_requested_at_its_own_width(image: Pair, text: str, ask: str) -> None:
    """Image servers may refuse to enlarge: an image within its box must not be requested by the box."""
    assert size_to_ask(parse_size(text), Size(*image)) == ask


@pytest.mark.parametrize(
    ("image", "text", "measured", "right"),
    [
        ((1000, 2000), "!200,200", (100, 200), True),
        ((1000, 2000), "200,", (200, 400), True),
        ((1000, 2000), ",200", (100, 200), True),
        # A pixel off on the free edge:
        ((1000, 2000), "!250,250", (124, 250), True),
        ((1000, 2000), "250,", (250, 499), True),
        ((1000, 2000), "100,", (100, 201), True),
        ((2000, 1000), ",250", (500, 250), True),
        ((1000, 2000), "250,", (250, 502), False),
        # A pixel off on the edge that was asked for. The DLCS records what it expected, with other pixels behind it;
        # here it is a fault of the image server.
        ((1000, 2000), "!250,250", (125, 249), False),
        ((2000, 1000), "!250,250", (249, 125), False),
        ((1000, 2000), "!100,100", (50, 101), False),
        ((1000, 2000), "250,", (249, 500), False),
        ((1000, 2000), ",250", (125, 251), False),
        ((1000, 2000), ",100", (50, 101), False),
        # The right edge by chance, outside of the box:
        ((1000, 2000), "!250,250", (250, 500), False),
        ((500, 500), "!1000,100", (100, 100), True),
        ((500, 500), "!1000,100", (500, 500), False),
        # The image itself is exact.
        ((90, 70), "!100,100", (90, 70), True),
        ((90, 70), "!100,100", (90, 71), False),
        ((90, 70), "100,", (90, 70), False),
        ((100, 50), "50,50", (50, 50), True),
        ((100, 50), "50,50", (50, 49), False),
        ((100, 50), "pct:50", (50, 24), True),
        ((100, 50), "pct:50", (50, 22), False),
    ],
)
def test_the_free_edge_of_a_thumbnail_may_be_off_by_a_pixel(
    image: Pair, text: str, measured: Pair, right: bool
) -> None:
    """The edge that was asked for must be exact: readers compute the name of a thumbnail from it."""
    assert is_size_asked(parse_size(text), Size(*image), Size(*measured)) is right


@pytest.mark.parametrize(
    ("image", "text", "measured", "right"),
    [
        # What Cantaloupe gives from rasters reduced by 4, 8 and 2.
        ((7189, 345), ",64", (1323, 64), True),
        ((8332, 1801), ",359", (1658, 359), True),
        ((559, 8720), "155,", (155, 2414), True),
        ((7189, 345), ",64", (1300, 64), False),
        ((7189, 345), "!400,400", (400, 20), True),
        ((7189, 345), "!400,400", (400, 22), False),
    ],
)
def test_the_tolerance_of_a_long_edge_grows_with_the_proportions(
    image: Pair, text: str, measured: Pair, right: bool
) -> None:
    """In a scroll, one pixel of the short edge is many of the long one: a right answer must not be refused."""
    assert is_size_asked(parse_size(text), Size(*image), Size(*measured)) is right
