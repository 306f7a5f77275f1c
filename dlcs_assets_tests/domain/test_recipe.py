from __future__ import annotations

import pytest

from dlcs_assets.domain.delivery import DEFAULT_POLICIES, Channel, RequestedChannel, resolve_channels, thumbnail_sizes
from dlcs_assets.domain.ingest_plan import plan_ingest
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.recipe import UNKNOWN, IngestSpec, outdated
from dlcs_assets.domain.stages import STAGES, Stage

ALL = set(STAGES)
DEFAULTS = ("!400,400", "!100,100")
SEEDED = DEFAULT_POLICIES.thumbs["default"]


def making(
    channels: str = "iiif-img:default,thumbs:default",
    *,
    origin: str = "https://example.org/page.tif",
    limit: int = -1,
    roles: tuple[str, ...] = (),
    defaults: tuple[str, ...] = DEFAULTS,
    profile: str = "kdu_max",
    optimised: bool = False,
    is_jp2: bool = False,
) -> IngestSpec:
    named = (part.partition(":") for part in channels.split(","))
    requested = tuple(RequestedChannel(Channel(name), policy or None) for name, _, policy in named)
    registration = Registration(origin, "image/tiff", requested, limit, roles)
    resolved = resolve_channels(requested, "image/tiff", DEFAULT_POLICIES)
    sizes = thumbnail_sizes(resolved, DEFAULT_POLICIES, defaults)
    plan = plan_ingest(resolved, optimised=optimised, is_jp2=is_jp2)
    return IngestSpec(registration, plan, sizes, profile, engine_open_thumbnails=False)


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        (making(), making(), set()),
        (making(), making(origin="https://example.org/other.tif"), ALL),
        (making(), making(limit=200), {Stage.THUMBNAILS}),
        (making(), making(roles=("staff",)), {Stage.THUMBNAILS}),
        (making(limit=200), making(limit=200, roles=("staff",)), set()),
        (making(), making(defaults=("!400,400", "!200,200")), {Stage.THUMBNAILS}),
        (
            making(defaults=SEEDED),
            making("iiif-img:default", defaults=SEEDED),
            set(),
        ),  # the policy has no sizes but the system's
        (making(), making(profile="kdu_low"), {Stage.JP2, Stage.THUMBNAILS}),
        (making(is_jp2=True), making(profile="kdu_low", is_jp2=True), set()),
        (making("iiif-img:use-original"), making("iiif-img:use-original", profile="kdu_low"), set()),
        (making(), making("iiif-img:use-original,thumbs:default"), ALL),
        (making("iiif-img:use-original,thumbs:default"), making(), ALL),
        (making(), making("iiif-img:default,thumbs:default,file"), {Stage.ORIGINAL}),
        (making("iiif-img:default,thumbs:default,file"), making(), {Stage.ORIGINAL}),
        (making("file,thumbs:default"), making("thumbs:default"), {Stage.ORIGINAL}),
        (making("thumbs:default"), making("none"), {Stage.THUMBNAILS}),
    ],
)
def test_a_change_makes_stale_only_the_stages_it_decides_about(
    before: IngestSpec, after: IngestSpec, stages: set[Stage]
) -> None:
    """A new thumbnail size must not lead to a new JP2 of every image."""
    assert set(outdated(before.recipes(), after.recipes())) == stages


def test_the_reasons_are_words_for_people() -> None:
    changed = making("iiif-img:use-original", origin="https://example.org/b.tif", limit=5, defaults=("!9,9",))
    found = outdated(making().recipes(), changed.recipes())
    assert set(found[Stage.THUMBNAILS]) == {"origin", "policy", "access", "channels"}
    assert outdated({}, making().recipes()) == dict.fromkeys(STAGES, (UNKNOWN,))


def test_a_recipe_shows_nothing_of_an_origin() -> None:
    origin = "https://user:secret@example.org/page.tif?signature=secret"
    assert "secret" not in str(making(origin=origin).recipes())
