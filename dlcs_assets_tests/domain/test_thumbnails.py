from __future__ import annotations

import pytest

from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.thumbnails import EMPTY, ThumbnailSet, plan_thumbnails, read_sizes_json, thumbnail_set

Pair = tuple[int, int]
DEFAULTS = ("!100,100", "!200,200", "!400,400", "!1024,1024")
OLD_DEFAULTS = ("!800,800", "!400,400", "!200,200", "!100,100")


def split(
    made: list[Pair], max_unauthorised: int | None = None, roles: tuple[str, ...] = (), *, like_the_engine: bool = False
) -> ThumbnailSet:
    return thumbnail_set(
        [Size(*pair) for pair in made],
        max_unauthorised=max_unauthorised,
        roles=roles,
        engine_open_thumbnails=like_the_engine,
    )


def planned(sizes: tuple[str, ...], image: Pair) -> list[Pair]:
    return [(ask.expected.width, ask.expected.height) for ask in plan_thumbnails(sizes, Size(*image)).asks]


@pytest.mark.parametrize(
    ("max_unauthorised", "made", "sizes_json"),
    [
        (700, [(606, 1000), (302, 500), (60, 100)], '{"o":[[302,500],[60,100]],"a":[[606,1000]]}'),
        (500, [(606, 1000), (302, 500), (60, 100)], '{"o":[[302,500],[60,100]],"a":[[606,1000]]}'),
        (0, [(606, 1000), (302, 500), (60, 100)], '{"o":[],"a":[[606,1000],[302,500],[60,100]]}'),
        (None, [(532, 880), (266, 440), (60, 100)], '{"o":[[532,880],[266,440],[60,100]],"a":[]}'),
        (-1, [(60, 100), (532, 880), (266, 440)], '{"o":[[532,880],[266,440],[60,100]],"a":[]}'),
        (None, [(266, 440), (266, 440), (60, 100)], '{"o":[[266,440],[60,100]],"a":[]}'),
        (None, [], '{"o":[],"a":[]}'),
    ],
)
def test_the_sizes_json_lists_open_and_restricted_largest_first(
    max_unauthorised: int | None, made: list[Pair], sizes_json: str
) -> None:
    """This is the s.json that readers of the DLCS parse; what is written can be read back."""
    thumbnails = split(made, max_unauthorised)
    assert thumbnails.sizes_json() == sizes_json
    assert read_sizes_json(sizes_json) == thumbnails


def test_an_image_with_roles_and_no_limit_has_no_open_thumbnails() -> None:
    """The DLCS engine does not look at roles, and leaves such thumbnails open to everyone."""
    for no_limit in (None, -1):
        assert split([(100, 50)], no_limit, ("clickthrough",)) == ThumbnailSet(auth=(Size(100, 50),))
        assert split([(100, 50)], no_limit, ("clickthrough",), like_the_engine=True).open == (Size(100, 50),)


def test_with_a_limit_the_limit_decides_and_not_the_roles() -> None:
    """An image with roles still shows the sizes that its limit leaves open."""
    thumbnails = split([(400, 200), (100, 50)], 100, ("clickthrough",))
    assert thumbnails.is_open(Size(100, 50))
    assert not thumbnails.is_open(Size(400, 200))


@pytest.mark.parametrize(
    ("image", "max_unauthorised", "roles", "open_", "auth"),
    [
        ((5000, 2500), 0, ("GoodGuys",), [], [(800, 400), (400, 200), (200, 100), (100, 50)]),
        ((5000, 2500), 500, (), [(400, 200), (200, 100), (100, 50)], [(800, 400)]),
        ((2500, 5000), 399, ("GoodGuys",), [(100, 200), (50, 100)], [(400, 800), (200, 400)]),
        ((300, 150), None, (), [(300, 150), (200, 100), (100, 50)], []),
    ],
)
def test_an_image_has_the_thumbnails_that_readers_compute(
    image: Pair, max_unauthorised: int | None, roles: tuple[str, ...], open_: list[Pair], auth: list[Pair]
) -> None:
    """Readers without s.json compute sizes by the DLCS's old rule; each of these must exist."""
    thumbnails = split(planned(OLD_DEFAULTS, image), max_unauthorised, roles)
    assert thumbnails.open == tuple(Size(*pair) for pair in open_)
    assert thumbnails.auth == tuple(Size(*pair) for pair in auth)


def test_a_small_image_is_its_own_thumbnail_once() -> None:
    plan = plan_thumbnails(DEFAULTS, Size(300, 150))
    assert [(ask.parameter, ask.ask, str(ask.expected)) for ask in plan.asks] == [
        ("!400,400", "300,", "300x150"),
        ("!200,200", "!200,200", "200x100"),
        ("!100,100", "!100,100", "100x50"),
    ]
    assert plan.left_out == ()
    assert planned(DEFAULTS, (1, 1)) == [(1, 1)]


def test_a_size_that_would_enlarge_is_left_out_with_the_reason() -> None:
    plan = plan_thumbnails(("!100,100", "800,", "^600,"), Size(300, 150))
    assert [ask.parameter for ask in plan.asks] == ["^600,", "!100,100"]
    assert [(left.parameter, left.why) for left in plan.left_out] == [
        ("800,", "would enlarge the image (300x150), which needs a ^")
    ]


def test_of_two_sizes_with_one_key_only_the_larger_is_made() -> None:
    """Both would be stored under their longest edge; the one that is left out is reported with the reason."""
    plan = plan_thumbnails(("^!400,400", "100,", "!100,100"), Size(3508, 2480))
    assert [(ask.parameter, str(ask.expected)) for ask in plan.asks] == [
        ("^!400,400", "400x283"),
        ("!100,100", "100x71"),
    ]
    assert [(left.parameter, left.why) for left in plan.left_out] == [
        ("100,", "100x70 would be stored under the same name as 100x71 (!100,100), which has more pixels")
    ]


def test_sizes_of_a_policy_are_made_whatever_the_orientation() -> None:
    """Readers that have no s.json guess that `,h` is not made for landscape images; here s.json says that it is."""
    for image in [(500, 250), (250, 500), (250, 250)]:
        for size in ("100,", ",100", "^100,", "^,100", "!100,100", "^!100,100"):
            assert len(planned((size,), image)) == 1


def test_measured_sizes_with_one_key_are_recorded_as_the_larger() -> None:
    """s.json must not list two thumbnails if only one can be stored."""
    assert split([(100, 70), (100, 71), (71, 100)]).sizes == (Size(100, 71),)


def test_sizes_of_both_lists_are_read_largest_first() -> None:
    thumbnails = read_sizes_json('{"a": [[267, 400], [133, 200]], "o": [[683, 1024], [67, 100]]}')
    assert thumbnails.sizes == (Size(683, 1024), Size(267, 400), Size(133, 200), Size(67, 100))
    assert read_sizes_json('{"o":[],"a":[[683,1024]]}').open == ()
    assert len(thumbnails.sizes) == 4
    assert read_sizes_json("{}") == EMPTY


@pytest.mark.parametrize("text", ["", "[]", '{"o":[1]}', '{"o":[["a","b"]]}', '{"o":[[1]]}', '{"o":null}', '{"o":12}'])
def test_an_invalid_sizes_json_is_refused(text: str) -> None:
    """An s.json that someone else wrote must not end in a TypeError."""
    with pytest.raises(ValueError, match=r".+"):
        read_sizes_json(text)
