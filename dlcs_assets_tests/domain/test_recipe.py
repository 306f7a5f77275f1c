from __future__ import annotations

from dataclasses import replace

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import DEFAULT_POLICIES
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.ingest_spec import IngestSpec, KnownFormat, ingest_spec
from dlcs_assets.domain.recipe import UNKNOWN, compare_recipes
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets_tests.domain.policies import POLICY, requested

ALL = set(STAGES)
DEFAULTS = ("!400,400", "!100,100")
SEEDED = DEFAULT_POLICIES.thumbs["default"]


def spec(
    channels: str = "iiif-img:default,thumbs:default",
    *,
    origin: str = "https://example.org/page.tif",
    limit: int = -1,
    roles: tuple[str, ...] = (),
    defaults: tuple[str, ...] = DEFAULTS,
    profile: str = "kdu_max",
    is_jp2: bool = False,
) -> IngestSpec:
    registration = Registration(origin, "image/tiff", requested(channels), limit, roles)
    policy = replace(POLICY, default_thumbnail_sizes=defaults, profile=profile)
    return ingest_spec(AssetId.parse("2/1/page"), registration, policy, KnownFormat(is_jp2=is_jp2))


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        (spec(), spec(), set()),
        (spec(), spec(origin="https://example.org/other.tif"), ALL),
        (spec(), spec(limit=200), {Stage.THUMBNAILS}),
        (spec(), spec(roles=("staff",)), {Stage.THUMBNAILS}),
        (spec(limit=200), spec(limit=200, roles=("staff",)), set()),
        (spec(), spec(defaults=("!400,400", "!200,200")), {Stage.THUMBNAILS}),
        (
            spec(defaults=SEEDED),
            spec("iiif-img:default", defaults=SEEDED),
            set(),
        ),  # the policy has no sizes but the system's
        (spec(), spec(profile="kdu_low"), {Stage.JP2, Stage.THUMBNAILS}),
        (spec(is_jp2=True), spec(profile="kdu_low", is_jp2=True), set()),
        (spec("iiif-img:use-original"), spec("iiif-img:use-original", profile="kdu_low"), set()),
        (spec(), spec("iiif-img:use-original,thumbs:default"), ALL),
        (spec("iiif-img:use-original,thumbs:default"), spec(), ALL),
        (spec(), spec("iiif-img:default,thumbs:default,file"), {Stage.ORIGINAL}),
        (spec("iiif-img:default,thumbs:default,file"), spec(), {Stage.ORIGINAL}),
        (spec("file,thumbs:default"), spec("thumbs:default"), {Stage.ORIGINAL}),
        (spec("thumbs:default"), spec("none"), {Stage.THUMBNAILS}),
    ],
)
def test_a_change_makes_stale_only_the_stages_it_decides_about(
    before: IngestSpec, after: IngestSpec, stages: set[Stage]
) -> None:
    """A new thumbnail size must not lead to a new JP2 of every image."""
    assert set(compare_recipes(before.recipes(), after.recipes())) == stages


def test_the_reasons_are_words_for_people() -> None:
    changed = spec("iiif-img:use-original", origin="https://example.org/b.tif", limit=5, defaults=("!9,9",))
    found = compare_recipes(spec().recipes(), changed.recipes())
    assert set(found[Stage.THUMBNAILS]) == {"origin", "policy", "access", "channels"}
    assert compare_recipes({}, spec().recipes()) == dict.fromkeys(STAGES, (UNKNOWN,))


def test_a_recipe_shows_nothing_of_an_origin() -> None:
    origin = "https://user:secret@example.org/page.tif?signature=secret"
    assert "secret" not in str(spec(origin=origin).recipes())
