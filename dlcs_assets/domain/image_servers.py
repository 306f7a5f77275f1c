"""The kinds of image servers, how they read sources, and which plans each of them can serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from dlcs_assets.domain.delivery import USE_ORIGINAL, Channel, RequestedChannel
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_plan import ImageServerSource, IngestPlan
from dlcs_assets.domain.misreadings import (
    CANTALOUPE,
    Misreading,
    SourcePicture,
    misreading_of,
    misreading_of_format,
)
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.thumbnails import ThumbnailAsk

MISREADS: Final = "image_server_misreads"
READS_NO_JP2: Final = "image_server_reads_no_jp2"
READS_NO_JP2_CAUSE: Final = "the image server (iiif-processor) reads no JP2"
READS_NO_JP2_REMEDY: Final = (
    "Use the image policy use-original, or a server whose libvips was built with JPEG 2000 and "
    "DLCS_IMAGE_SERVER_READS_JP2=true, or Cantaloupe"
)


class ImageServerKind(StrEnum):
    """Which image server it is; how it differs from others is in `DIALECTS`.

    The embedded one is asked as Cantaloupe is, and reads more.
    """

    EMBEDDED = "embedded"
    CANTALOUPE = "cantaloupe"
    IIIF_PROCESSOR = "iiif-processor"

    @property
    def dialect(self) -> Dialect:
        """How this kind of server is talked to."""
        return DIALECTS[self]

    def size_parameter(self, ask: ThumbnailAsk) -> str:
        """Return the size parameter to send for a thumbnail."""
        return self.dialect.size_parameter(ask)

    def instead_of(self, ask: ThumbnailAsk, image: Size) -> ThumbnailAsk | None:
        """Return what to ask for where it makes nothing of a thumbnail as thin as `ask` is, None where it does.

        The larger picture is to be scaled down by the caller. Of an image that is itself as thin, it is the image.
        """
        least = self.dialect.least_edge
        expected = ask.expected
        if expected == image or min(expected.width, expected.height, image.width, image.height) > least:
            return None
        if min(image.width, image.height) < least:
            larger = image
        else:
            larger = Size(max(expected.width, least), max(expected.height, least))
        upscale = "^" if ask.parameter.startswith("^") and larger != image else ""
        parameter = f"{upscale}{larger.width},{larger.height}"
        return ThumbnailAsk(parameter, parameter, larger)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a kind of image server differs from others.

    `size_parameter` says how a thumbnail is asked for. `reads_jp2`: whether its usual build reads JP2s.
    `has_cache_parameter`: whether it takes Cantaloupe's `?cache=`. `refuses_size` and `unreadable`: what the text of an
    answer says, in lower case, if this size is never made, or if the source can't be read though the status is 500.
    `misreads`: originals that it does not show as they are. `least_edge`: a scaled picture with an edge below it is
    blank, or refused; 0 where there is no such edge.
    """

    size_parameter: Callable[[ThumbnailAsk], str]
    reads_jp2: bool
    has_cache_parameter: bool
    refuses_size: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    least_edge: int = 0
    misreads: tuple[Misreading, ...] = ()


def _as_in_the_policy(ask: ThumbnailAsk) -> str:
    return ask.ask


def _in_pixels(ask: ThumbnailAsk) -> str:
    """For servers that refuse a box one of whose edges is longer than the image's, though the result would fit."""
    upscale = "^" if ask.parameter.startswith("^") else ""
    return f"{upscale}{ask.expected.width},{ask.expected.height}"


# A new image server is an entry here, and a name in ImageServerKind.
_EMBEDDED: Final = Dialect(
    size_parameter=_as_in_the_policy,
    reads_jp2=True,
    has_cache_parameter=True,
    # Without ^ or above its max_scale; the second is Laya's, which the embedded server and others are like.
    refuses_size=("scales in excess of", "image dimensions exceed largest"),
)
DIALECTS: Final[Mapping[ImageServerKind, Dialect]] = {
    ImageServerKind.EMBEDDED: _EMBEDDED,
    ImageServerKind.CANTALOUPE: replace(_EMBEDDED, least_edge=3, misreads=CANTALOUPE),
    ImageServerKind.IIIF_PROCESSOR: Dialect(
        size_parameter=_in_pixels,
        reads_jp2=False,
        has_cache_parameter=False,
        unreadable=("unsupported image format",),  # libvips
    ),
}


class SourceAccess(StrEnum):
    """Where the image server reads sources: objects in S3, or files on a disk that it shares with the runs."""

    S3 = "s3"
    DISK = "disk"


def leads_to_jp2(channel: Channel, policy: str | None) -> bool:
    """Return whether images of this channel and policy are served, and their thumbnails made, from a JP2."""
    return channel is Channel.IIIF_IMG and policy is not None and policy != USE_ORIGINAL


def check_readable(requested: Sequence[RequestedChannel] | None) -> None:
    """Refuse channels for a server that reads no JP2, where they make one. Raises `MessageRejectedError`.

    Channels and policies that are left to the customer's defaults are not checked: those are refused beforehand.
    """
    for item in requested or ():
        if leads_to_jp2(item.channel, item.policy):
            raise MessageRejectedError(
                READS_NO_JP2,
                f"the channel {item.channel} with the policy {item.policy} makes a JP2, and {READS_NO_JP2_CAUSE}",
                remedy=READS_NO_JP2_REMEDY,
            )


def require_readable(plan: IngestPlan, media_type: object) -> None:
    """Refuse a plan for a server that reads no JP2, where that is what it would read.

    `media_type` is the original's; None if it is not known. Raises `PermanentError`, code `image_server_reads_no_jp2`.
    """
    of_jp2 = plan.source is ImageServerSource.JP2
    is_jp2 = plan.source is not ImageServerSource.NONE and media_type == "image/jp2"
    if of_jp2 or is_jp2:
        what = "Thumbnails are to be made from a JP2" if of_jp2 else "The original is a JP2"
        raise PermanentError(
            READS_NO_JP2, f"{what}, and {READS_NO_JP2_CAUSE}", remedy=READS_NO_JP2_REMEDY, stage=Stage.THUMBNAILS
        )


def require_read_right(kind: ImageServerKind, plan: IngestPlan, original: SourcePicture | str) -> None:
    """Refuse a plan by which the server would read an original that it does not show as it is.

    `original` is its header, or its media type if no more is known. Raises `PermanentError`, code
    `image_server_misreads`.
    """
    if not _reads_original(plan):
        return
    table = kind.dialect.misreads
    if isinstance(original, str):
        row, media_type = misreading_of_format(table, original), original
    else:
        row, media_type = misreading_of(table, original), original.format.media_type
    if row is None:
        return
    if plan.source is ImageServerSource.JP2:
        remedy = "Put one without that at its origin: a JP2 is stored as it is."
    else:
        remedy = "Use the image policy default, which converts the image, or convert it and put that at its origin."
    raise PermanentError(
        MISREADS,
        f"The original ({media_type}) is {row.what}, and the image server ({kind}) {row.does}",
        remedy=remedy,
        stage=Stage.ORIGINAL,
    )


def misread_originals(kind: ImageServerKind, plan: IngestPlan, media_type: str | None) -> list[str]:
    """Return, in words, which originals will be refused once their bytes are seen. `media_type`: None if unknown."""
    if not _reads_original(plan):
        return []
    rows = [row for row in kind.dialect.misreads if media_type is None or row.is_of(media_type)]
    return [f"{row.what}: the image server {row.does}" for row in rows]


def _reads_original(plan: IngestPlan) -> bool:
    """Return whether the server reads the original itself, be it as the JP2."""
    if plan.source is ImageServerSource.JP2:
        return plan.jp2_outcome is Outcome.COPIED
    return plan.source is not ImageServerSource.NONE
