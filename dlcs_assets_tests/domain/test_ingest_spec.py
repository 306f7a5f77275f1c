"""What is to be made of an image, from its registration, the customers, the settings and what is known of its bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.ingest_spec import KnownFormat, ingest_spec, needs_media_type, stale_stages
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import STAGES, Outcome, Stage
from dlcs_assets_tests.domain.policies import POLICY, requested

PAGE = AssetId.parse("2/1/page")
HTTP, PORTAL = "https://example.org/page", "s3://uploads/2/1/page"
NOTHING = KnownFormat()
TIFF, JP2 = KnownFormat("image/tiff", is_jp2=False), KnownFormat("image/jp2", is_jp2=True)


@pytest.mark.parametrize(
    ("registered", "channels", "origin", "known", "row", "sizes"),
    [
        ("image/tiff", "", HTTP, NOTHING, "1 or 2", 2),
        ("image/tiff", "", HTTP, TIFF, "1", 2),
        ("image/tiff", "", HTTP, JP2, "2", 2),  # the registration decides about channels, the bytes about the JP2
        (None, "", HTTP, TIFF, "1", 2),
        (None, "", HTTP, JP2, "5", 2),
        (None, "", HTTP, KnownFormat("image/*"), "1 or 2", 2),
        ("image/jp2", "", HTTP, TIFF, "5", 2),
        (None, "", HTTP, KnownFormat("application/pdf", is_jp2=False), "file", 0),
        (None, "iiif-img:default", PORTAL, NOTHING, "3 or 4", 2),
        ("application/octet-stream", "iiif-img:default", PORTAL, NOTHING, "3 or 4", 2),
        ("application/octet-stream", "", HTTP, TIFF, "1", 2),
        ("binary/octet-stream", "", HTTP, KnownFormat("application/octet-stream"), "file", 0),
        (None, "iiif-img:default", PORTAL, JP2, "4", 2),
        (None, "thumbs:tiny", HTTP, NOTHING, "7", 3),
        (None, "none", HTTP, NOTHING, "none", 0),
    ],
)
def test_the_row_follows_from_registration_and_bytes(  # noqa: PLR0917 (the columns of the table)
    registered: str | None, channels: str, origin: str, known: KnownFormat, row: str, sizes: int
) -> None:
    registration = Registration(origin, registered, requested(channels))
    spec = ingest_spec(PAGE, registration, POLICY, known)
    assert (spec.plan.row, len(spec.sizes)) == (row, sizes)


@pytest.mark.parametrize(
    ("media_type", "channels", "needed"),
    [
        (None, "", True),
        (None, "iiif-img", True),
        (None, "iiif-img:default,thumbs", True),
        (None, "iiif-img:default,thumbs:default", False),
        (None, "file", False),
        ("image/tiff", "", False),
        ("application/octet-stream", "", True),
        ("Binary/Octet-Stream; charset=binary", "iiif-img", True),
        ("application/octet-stream", "iiif-img:default,thumbs:default", False),
    ],
)
def test_the_media_type_is_needed_for_open_choices_only(media_type: str | None, channels: str, needed: bool) -> None:
    registration = Registration(HTTP, media_type, requested(channels))
    assert needs_media_type(registration) is needed
    if needed:
        with pytest.raises(MessageRejectedError, match="media_type_missing"):
            ingest_spec(PAGE, registration, POLICY)


def test_an_original_at_hand_makes_the_plan_definite() -> None:
    spec = ingest_spec(PAGE, Registration(HTTP, "image/tiff"), POLICY)
    assert spec.plan.depends_on_format
    assert spec.with_format(SourceFormat("image/jp2", is_image=True, is_jp2=True)).plan.row == "2"
    assert spec.with_format(SourceFormat("image/tiff", is_image=True)).plan.row == "1"
    assert spec.with_format(None) == spec


def test_what_cannot_be_ingested_is_refused() -> None:
    with pytest.raises(PermanentError, match="customer_not_configured"):
        ingest_spec(AssetId.parse("3/1/page"), Registration(HTTP, "image/tiff"), POLICY)
    with pytest.raises(PermanentError, match="origin_not_allowed"):
        ingest_spec(PAGE, Registration("s3://storage/2/1/page", "image/tiff"), POLICY)
    with pytest.raises(MessageRejectedError, match="unknown_policy"):
        ingest_spec(PAGE, Registration(HTTP, "image/tiff", requested("thumbs:huge")), POLICY)


@pytest.mark.parametrize(
    ("results", "known"),
    [
        ({}, NOTHING),
        ({Stage.ORIGINAL: {"media_type": "image/jp2"}}, JP2),
        ({Stage.ORIGINAL: {"media_type": "image/tiff"}}, TIFF),
        ({Stage.ORIGINAL: {}, Stage.JP2: {"media_type": "image/jp2"}}, NOTHING),
    ],
)
def test_earlier_results_determine_the_format(results: dict[Stage, dict[str, str]], known: KnownFormat) -> None:
    recorded = {stage: StageResult(stage, Outcome.FETCHED, "1", facts) for stage, facts in results.items()}
    assert KnownFormat.recorded(recorded) == known


@pytest.mark.parametrize(
    ("source_format", "claimed", "known"),
    [
        (SourceFormat("image/jp2", is_image=True, is_jp2=True), "image/tiff", JP2),
        (None, "image/tiff", KnownFormat("image/tiff")),
        (None, "", NOTHING),
        (None, "binary/octet-stream", KnownFormat("application/octet-stream")),
        (None, None, NOTHING),
    ],
)
def test_a_peek_believes_the_bytes_first(
    source_format: SourceFormat | None, claimed: str | None, known: KnownFormat
) -> None:
    assert KnownFormat.seen(source_format, claimed) == known


def test_results_are_stale_once_they_would_differ() -> None:
    registration = Registration(HTTP, None, None)
    recipes = ingest_spec(PAGE, registration, POLICY, TIFF).recipes()
    facts = {Stage.ORIGINAL: {"media_type": "image/tiff"}}
    results = {
        stage: StageResult(stage, Outcome.FETCHED, "1", facts.get(stage, {}), recipe=recipes[stage]) for stage in STAGES
    }
    assert stale_stages(PAGE, registration, results, POLICY) == {}
    changed = replace(POLICY, default_thumbnail_sizes=("!300,300",))
    assert stale_stages(PAGE, registration, results, changed) == {Stage.THUMBNAILS: ("policy",)}
