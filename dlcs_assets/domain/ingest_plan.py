"""The plan for one image: what is fetched, made and stored, as a function of channels, policy, origin and format."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.delivery import USE_ORIGINAL, Channel, DeliveryChannel
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.stages import Outcome


class Conversion(StrEnum):
    """How the JP2 comes to be."""

    NONE = "none"
    APPETISER = "appetiser"
    COPY = "copy"


class ImageServerSource(StrEnum):
    """What the image server reads to make thumbnails: an object in the storage bucket, or the origin."""

    NONE = "none"
    JP2 = "jp2"
    ORIGINAL = "original"
    TRANSIENT = "transient"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What will be done for an image.

    `row` is that of the table, with `+file` where the original is also delivered as a file. `thumbnails`: some are
    made, of the system's default sizes at least. `depends_on_format`: the format was not known; `conversion` and
    `jp2_outcome` are those for an image that is not a JP2.
    """

    row: str
    fetch: bool
    conversion: Conversion
    keep_original: bool
    transient: bool
    source: ImageServerSource
    original_outcome: Outcome
    jp2_outcome: Outcome
    thumbnails: bool
    why: str
    depends_on_format: bool = False


# "opt" is an s3-ambient origin that the image server reads too, "http*" every other one; "-": plays no part.
# "keep": the original stays at {id}/original; "for a while": at transient/{id}/{request}. Appetiser copies what is a
# JP2 already; row 4 does without it. `iiif-img` without `thumbs` has the same rows, and so has `iiif-img,file`, where
# an original from an http* origin is kept as well.
_TABLE: Final = """
channels,policy       | origin | format | row  | fetch | conversion | keep | for a while | server reads | original                     | jp2          | thumbnails
iiif-img,default      | http*  | any    | 1    | yes   | appetiser  | no   | no          | jp2          | fetched, not kept            | converted    | yes
iiif-img,default      | http*  | jp2    | 2    | yes   | appetiser  | no   | no          | jp2          | fetched, not kept            | copied       | yes
iiif-img,default      | opt    | any    | 3    | yes   | appetiser  | no   | no          | jp2          | at its origin                | converted    | yes
iiif-img,default      | opt    | jp2    | 4    | yes   | copy       | no   | no          | jp2          | at its origin                | copied       | yes
iiif-img,use-original | http*  | -      | 5    | yes   | none       | yes  | no          | original     | kept                         | not required | yes
iiif-img,use-original | opt    | -      | 6    | yes   | none       | no   | no          | origin       | at its origin                | not required | yes
thumbs                | http*  | -      | 7    | yes   | none       | no   | yes         | transient    | kept for the thumbnails only | not required | yes
thumbs                | opt    | -      | 8    | no    | none       | no   | no          | origin       | at its origin                | not required | yes
file,thumbs           | http*  | -      | 9    | yes   | none       | yes  | no          | original     | kept                         | not required | yes
file,thumbs           | opt    | -      | 10   | no    | none       | no   | no          | origin       | at its origin                | not required | yes
file                  | http*  | -      | file | yes   | none       | yes  | no          | none         | kept                         | not required | no
file                  | opt    | -      | file | no    | none       | no   | no          | none         | at its origin                | not required | no
none                  | http*  | -      | none | no    | none       | no   | no          | none         | not required                 | not required | no
none                  | opt    | -      | none | no    | none       | no   | no          | none         | not required                 | not required | no
"""  # noqa: E501 (a table is read by its columns)

_WHY: Final = {
    "1": "The original is fetched, Appetiser makes a JP2 of it, and that is what is stored and served.",
    "2": "The original is a JP2 already: Appetiser passes it on as it is, and it is stored and served.",
    "3": "The original stays at its origin; a JP2 that Appetiser makes of it is stored and served.",
    "4": "The original is a JP2 already and stays at its origin; a copy of it is stored and served, without Appetiser.",
    "5": "The policy use-original serves the original itself, which is stored for that; no JP2 is made.",
    "6": "The policy use-original serves the original itself, from its origin; nothing but thumbnails is stored.",
    "7": "Only thumbnails are asked for: the original is stored for as long as they are being made.",
    "8": "Only thumbnails are asked for: the image server reads the original at its origin, nothing is fetched.",
    "9": "The original is stored as a file, and the thumbnails are made from it; no JP2 is made.",
    "10": "The file is delivered from its origin, and the image server reads it there; nothing is fetched.",
    "file": "Only the file is delivered: it is stored, or left where it is if its origin will do; no image is read.",
    "none": "The channel none registers the image and does no more.",
}
_KEPT_AS_FILE: Final = " The original is kept as well, to be delivered as a file."
_FILE_AT_ORIGIN: Final = " As a file it is delivered from its origin."


def plan_ingest(channels: Collection[DeliveryChannel], *, optimised: bool, is_jp2: bool | None) -> IngestPlan:
    """Return the plan for an image. `is_jp2=None`: not known yet.

    Raises `PermanentError` for channels that are not ours (`iiif_av_not_supported`) or that are none (`no_channels`).
    """
    policies = {item.channel: item.policy for item in channels}
    if Channel.IIIF_AV in policies:
        raise PermanentError(
            "iiif_av_not_supported",
            "Audio and video (delivery channel iiif-av) are not ingested here.",
            remedy="Send it to the engine that does, by way of DLCS_FORWARD_QUEUE_URL.",
        )
    use, origin = _use(policies), "opt" if optimised else "http*"
    file_too = Channel.IIIF_IMG in policies and Channel.FILE in policies

    def plan(image_format: str) -> IngestPlan:
        row = _PLANS[use, origin, image_format]
        return _with_file(row, optimised=optimised) if file_too else row

    if (use, origin, "-") in _PLANS:
        return plan("-")
    if is_jp2 is None:
        return _not_known_yet(plan("any"), plan("jp2"))
    return plan("jp2" if is_jp2 else "any")


def _use(policies: dict[Channel, str]) -> str:
    """Return the first column of the table."""
    if Channel.IIIF_IMG in policies:
        # As in the DLCS, every policy but use-original means a JP2.
        return "iiif-img,use-original" if policies[Channel.IIIF_IMG] == USE_ORIGINAL else "iiif-img,default"
    if Channel.THUMBS in policies:
        return "file,thumbs" if Channel.FILE in policies else "thumbs"
    if Channel.FILE in policies:
        return "file"
    if Channel.NONE in policies:
        return "none"
    raise PermanentError("no_channels", "The image has no delivery channel.", remedy="Register it with one.")


def _not_known_yet(plan: IngestPlan, for_jp2: IngestPlan) -> IngestPlan:
    return replace(
        plan,
        row=f"{plan.row} or {for_jp2.row}",
        why=f"{plan.why} Or, should it turn out to be a JP2: {for_jp2.why}",
        depends_on_format=True,
    )


def _with_file(plan: IngestPlan, *, optimised: bool) -> IngestPlan:
    row = f"{plan.row}+file"
    if optimised:
        return replace(plan, row=row, why=plan.why + _FILE_AT_ORIGIN)
    return replace(plan, row=row, keep_original=True, original_outcome=Outcome.KEPT, why=plan.why + _KEPT_AS_FILE)


def _read_table() -> dict[tuple[str, str, str], IngestPlan]:
    plans = {}
    for line in _TABLE.strip().splitlines()[1:]:
        use, origin, image_format, row, fetch, conversion, keep, transient, source, original, jp2, thumbnails = (
            cell.strip() for cell in line.split("|")
        )
        plans[use, origin, image_format] = IngestPlan(
            row=row,
            fetch=fetch == "yes",
            conversion=Conversion(conversion),
            keep_original=keep == "yes",
            transient=transient == "yes",
            source=ImageServerSource(source),
            original_outcome=Outcome(original),
            jp2_outcome=Outcome(jp2),
            thumbnails=thumbnails == "yes",
            why=_WHY[row],
        )
    return plans


_PLANS: Final = _read_table()
