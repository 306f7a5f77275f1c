from __future__ import annotations

import pytest

from dlcs_assets.domain.delivery import Channel, DeliveryChannel
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_plan import Conversion, ImageServerSource, IngestPlan, plan_ingest

OPTIMISED, ELSEWHERE = True, False
JP2, OTHER, UNKNOWN = True, False, None


def plan(channels: str, *, optimised: bool, is_jp2: bool | None) -> IngestPlan:
    """Plan for channels written as `iiif-img/default,thumbs`."""
    pairs = [name.partition("/") for name in channels.split(",")]
    resolved = [DeliveryChannel(Channel(channel), policy or "default") for channel, _, policy in pairs]
    return plan_ingest(resolved, optimised=optimised, is_jp2=is_jp2)


# As decisions about ingest are written down: the permutations of the DLCS's ADR 0006, and the rows that it leaves out.
# "St" is the storage bucket; "any" format stands for an image that is no JP2, "-" for all.
ROWS = """
channels                     | origin | format | row    | fetch | Appetiser | stored                   | server reads | original                     | jp2
iiif-img,thumbs              | http*  | any    | 1      | yes   | convert   | {id}                     | jp2          | fetched, not kept            | converted
iiif-img,thumbs              | http*  | jp2    | 2      | yes   | convert   | {id}                     | jp2          | fetched, not kept            | copied
iiif-img,thumbs              | opt    | any    | 3      | yes   | convert   | {id}                     | jp2          | at its origin                | converted
iiif-img,thumbs              | opt    | jp2    | 4      | yes   | no        | {id}                     | jp2          | at its origin                | copied
iiif-img/use-original,thumbs | http*  | -      | 5      | yes   | no        | {id}/original            | original     | kept                         | not required
iiif-img/use-original,thumbs | opt    | -      | 6      | yes   | no        |                          | origin       | at its origin                | not required
thumbs                       | http*  | -      | 7      | yes   | no        | transient/{id}/{request} | transient    | kept for the thumbnails only | not required
thumbs                       | opt    | -      | 8      | no    | no        |                          | origin       | at its origin                | not required
file,thumbs                  | http*  | -      | 9      | yes   | no        | {id}/original            | original     | kept                         | not required
thumbs,file                  | opt    | -      | 10     | no    | no        |                          | origin       | at its origin                | not required
file                         | http*  | -      | file   | yes   | no        | {id}/original            | none         | kept                         | not required
file                         | opt    | -      | file   | no    | no        |                          | none         | at its origin                | not required
none                         | http*  | -      | none   | no    | no        |                          | none         | not required                 | not required
none                         | opt    | -      | none   | no    | no        |                          | none         | not required                 | not required
iiif-img                     | http*  | any    | 1      | yes   | convert   | {id}                     | jp2          | fetched, not kept            | converted
iiif-img                     | opt    | jp2    | 4      | yes   | no        | {id}                     | jp2          | at its origin                | copied
iiif-img/anything            | http*  | any    | 1      | yes   | convert   | {id}                     | jp2          | fetched, not kept            | converted
iiif-img/use-original        | http*  | -      | 5      | yes   | no        | {id}/original            | original     | kept                         | not required
iiif-img,file                | http*  | any    | 1+file | yes   | convert   | {id} {id}/original       | jp2          | kept                         | converted
file,iiif-img,thumbs         | http*  | jp2    | 2+file | yes   | convert   | {id} {id}/original       | jp2          | kept                         | copied
iiif-img,file                | opt    | any    | 3+file | yes   | convert   | {id}                     | jp2          | at its origin                | converted
iiif-img,file                | opt    | jp2    | 4+file | yes   | no        | {id}                     | jp2          | at its origin                | copied
iiif-img/use-original,file   | http*  | -      | 5+file | yes   | no        | {id}/original            | original     | kept                         | not required
iiif-img/use-original,file   | opt    | -      | 6+file | yes   | no        |                          | origin       | at its origin                | not required
"""  # noqa: E501 (a table is read by its columns)


FORMATS: dict[str, tuple[bool | None, ...]] = {"any": (OTHER,), "jp2": (JP2,), "-": (OTHER, JP2, UNKNOWN)}


@pytest.mark.parametrize("line", ROWS.strip().splitlines()[1:])
def test_every_row_of_the_plan(line: str) -> None:
    channels, origin, image_format, *expected = (cell.strip() for cell in line.split("|"))
    for is_jp2 in FORMATS[image_format]:
        found = plan(channels, optimised=origin == "opt", is_jp2=is_jp2)
        assert described(found) == expected
        assert found.thumbnails is (channels not in {"file", "none"})
        assert not found.depends_on_format
        assert found.why.endswith(".")


def described(found: IngestPlan) -> list[str]:
    """Return the columns from `row` on."""
    keys = {
        "{id}": found.conversion is not Conversion.NONE,
        "{id}/original": found.keep_original,
        "transient/{id}/{request}": found.transient,
    }
    return [
        found.row,
        "yes" if found.fetch else "no",
        "convert" if found.conversion is Conversion.APPETISER else "no",
        " ".join(key for key, is_stored in keys.items() if is_stored),
        found.source,
        found.original_outcome,
        found.jp2_outcome,
    ]


@pytest.mark.parametrize(
    ("channels", "optimised", "row"),
    [
        ("iiif-img,thumbs", ELSEWHERE, "1 or 2"),
        ("iiif-img,thumbs", OPTIMISED, "3 or 4"),
        ("iiif-img,file", ELSEWHERE, "1+file or 2+file"),
    ],
)
def test_an_unknown_format_is_planned_like_an_image_to_convert(channels: str, optimised: bool, row: str) -> None:
    """The plan says that it depends on the format, instead of passing a guess off as final."""
    found = plan(channels, optimised=optimised, is_jp2=UNKNOWN)
    for_other = plan(channels, optimised=optimised, is_jp2=OTHER)
    assert found.depends_on_format
    assert found.row == row
    assert found.conversion is Conversion.APPETISER
    assert (found.fetch, found.keep_original, found.source) == (True, for_other.keep_original, ImageServerSource.JP2)
    assert for_other.why in found.why


@pytest.mark.parametrize("channels", ["iiif-av", "iiif-av,file"])
def test_audio_and_video_are_not_ours(channels: str) -> None:
    with pytest.raises(PermanentError) as refused:
        plan(channels, optimised=False, is_jp2=None)
    assert refused.value.code == "iiif_av_not_supported"


def test_an_image_without_channels_has_no_plan() -> None:
    with pytest.raises(PermanentError) as refused:
        plan_ingest([], optimised=False, is_jp2=False)
    assert refused.value.code == "no_channels"
