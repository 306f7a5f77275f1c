"""Which originals an image server does not show as they are, and which of them are refused for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlcs_assets.domain.delivery import Channel, DeliveryChannel
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.image_servers import ImageServerKind, misread_originals, require_read_right
from dlcs_assets.domain.ingest_plan import IngestPlan, plan_ingest
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.domain.misreadings import CANTALOUPE, misreading_of

TIFF = SourceFormat("image/tiff", is_image=True)


@dataclass(frozen=True)
class Picture:
    """The header of a TIFF in RGB that every server reads, apart from what a test says."""

    format: SourceFormat = TIFF
    orientation: int = 1
    colour: str = "RGB"
    samples: str = "unsigned"
    has_alpha: bool = False
    has_profile: bool = False
    variant: str | None = None


def of(media_type: str, **facts: Any) -> Picture:
    return Picture(SourceFormat(media_type, is_image=True, is_jp2=media_type == "image/jp2"), **facts)


@pytest.mark.parametrize(
    ("picture", "what"),
    [
        (of("image/webp"), "WebP"),
        (of("image/tiff", variant="BigTIFF"), "BigTIFF or WebP in TIFF"),
        (of("image/jpx"), "a JPX that does not say that it is a JP2, too"),
        (of("image/jpeg", orientation=5), "to be mirrored (orientation 2, 4, 5 or 7)"),
        (of("image/tiff", orientation=2), "to be mirrored (orientation 2, 4, 5 or 7)"),
        (of("image/png", orientation=6), "a PNG that is to be turned"),
        (of("image/jpeg", colour="CMYK"), "CMYK without a profile"),
        (of("image/png", colour="grey", has_alpha=True), "grey with alpha"),
        (of("image/tiff", has_alpha=True, orientation=6), "an RGB TIFF with alpha that is to be turned"),
        (of("image/jp2", has_alpha=True), "a JPEG 2000 with alpha"),
        (of("image/tiff", colour="LAB"), "a TIFF in L*a*b*"),
        (of("image/tiff", samples="float"), "a TIFF of floats"),
    ],
)
def test_what_cantaloupe_shows_wrong_is_in_its_table(picture: Picture, what: str) -> None:
    row = misreading_of(CANTALOUPE, picture)
    assert row is not None
    assert row.what == what


@pytest.mark.parametrize(
    "picture",
    [
        of("image/jpeg", orientation=6),
        of("image/tiff", orientation=8),
        of("image/jp2", orientation=3),
        of("image/jpeg", colour="CMYK", has_profile=True),
        of("image/png", has_alpha=True),
        of("image/tiff", has_alpha=True),
        of("image/gif", colour="palette"),
        of("image/x-jp2-codestream", variant="JPX"),
    ],
)
def test_what_cantaloupe_reads_right_is_not(picture: Picture) -> None:
    assert misreading_of(CANTALOUPE, picture) is None


def plan_of(channel: str, policy: str, *, optimised: bool = False, is_jp2: bool = False) -> IngestPlan:
    return plan_ingest([DeliveryChannel(Channel(channel), policy)], optimised=optimised, is_jp2=is_jp2)


MIRRORED_JPEG = of("image/jpeg", orientation=2)


@pytest.mark.parametrize(
    ("plan", "original"),
    [
        (plan_of("iiif-img", "use-original"), MIRRORED_JPEG),
        (plan_of("thumbs", "default"), MIRRORED_JPEG),
        (plan_of("thumbs", "default", optimised=True), "image/webp"),
        (plan_of("iiif-img", "default", is_jp2=True), of("image/jp2", has_alpha=True)),
    ],
)
def test_an_original_that_is_misread_is_refused(plan: IngestPlan, original: Picture | str) -> None:
    with pytest.raises(PermanentError) as caught:
        require_read_right(ImageServerKind.CANTALOUPE, plan, original)
    assert caught.value.code == "image_server_misreads"
    require_read_right(ImageServerKind.EMBEDDED, plan, original)


@pytest.mark.parametrize(
    ("plan", "original"),
    [
        (plan_of("iiif-img", "default"), MIRRORED_JPEG),
        (plan_of("file", "none"), MIRRORED_JPEG),
        (plan_of("thumbs", "default", optimised=True), "image/jpeg"),
    ],
)
def test_what_the_server_does_not_read_or_may_read_is_not(plan: IngestPlan, original: Picture | str) -> None:
    require_read_right(ImageServerKind.CANTALOUPE, plan, original)


def test_a_plan_says_which_originals_will_be_refused() -> None:
    served = plan_of("iiif-img", "use-original")
    said = misread_originals(ImageServerKind.CANTALOUPE, served, "image/jpeg")
    assert "CMYK without a profile: the image server shows it white" in said
    assert not any("WebP" in line for line in said)
    assert misread_originals(ImageServerKind.EMBEDDED, served, "image/jpeg") == []
    assert misread_originals(ImageServerKind.CANTALOUPE, plan_of("iiif-img", "default"), "image/jpeg") == []
    assert len(misread_originals(ImageServerKind.CANTALOUPE, served, None)) == len(CANTALOUPE)


def test_the_table_in_the_docs_is_the_one_in_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs/image-servers.md").read_text()
    assert "\n".join(f"| {row.what} | {row.does} |" for row in CANTALOUPE) in page
