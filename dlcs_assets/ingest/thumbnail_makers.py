"""The makers of thumbnails: the image server, one request a size, and Appetiser, all sizes of a file in one call."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dlcs_assets.clients.image_server import ImageServerSession, Refused, ThumbnailBytes
from dlcs_assets.clients.image_server_answer import FORBIDDEN, SOURCE_MISSING, SourceFailedError
from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.ingest_spec import IngestSpec, KnownFormat
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.thumbnails import ThumbnailAsk, ThumbnailPlan, plan_thumbnails
from dlcs_assets.ingest.appetiser_trial import blame_appetiser
from dlcs_assets.ingest.blame import blame, blame_decoder
from dlcs_assets.ingest.context import ImageContext
from dlcs_assets.ingest.scaled_thumbnail import scaled_thumbnail
from dlcs_assets.ingest.sources import Source, explain_unseen
from dlcs_assets.pictures.header import Colour
from dlcs_assets.pictures.tasks import inspect

# What a web server that is no image server would lead to as well.
_PERHAPS_ELSEWHERE: Final = frozenset(
    {SOURCE_MISSING, FORBIDDEN, "image_server_disk_not_shared", "info_unreadable", "thumbnail_unreadable"}
)
# libjpeg's limit.
MAX_JPEG_EDGE: Final = 65_500
# What a JPEG can hold as it is. With anything else Appetiser fails, or changes colours, without a JP2 in between.
_PLAIN_COLOURS: Final = frozenset({Colour.GREY, Colour.RGB, Colour.YCBCR})
_JPEG_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class ThumbnailBatch:
    """The thumbnails of an image of `size`, the sizes left out with their reasons, and facts for the metadata."""

    size: Size
    made: list[ThumbnailBytes]
    left_out: list[str]
    facts: dict[str, object] = field(default_factory=dict)


def make_with_image_server(
    image: ImageContext, spec: IngestSpec, source: Source, results: Mapping[Stage, StageResult], threads: Executor
) -> ThumbnailBatch:
    """Ask for every size, in `threads`. Raises the errors of the error tree."""
    server = image.services.image_server
    session = server.session(source.file)
    try:
        size, note = _served_size(spec, session, source.identifier, results)
        planned = plan_thumbnails(spec.sizes, size)
        made, refused = _ask_image_server(session, source.identifier, planned, size, threads)
    except SourceFailedError as error:
        raise blame(image, spec, source, error) from error
    except PermanentError as error:
        is_jp2 = KnownFormat.recorded(results).media_type == "image/jp2"
        raise blame_decoder(image, spec, error, original_is_jp2=is_jp2) from error
    except TransientError as error:
        if error.code in _PERHAPS_ELSEWHERE:
            server.check()
        if error.code in {SOURCE_MISSING, FORBIDDEN}:
            explain_unseen(image, spec)
        raise
    facts: dict[str, object] = {}
    if note:
        facts["note"] = note
    if session.seen_late:
        facts["seen_late"] = session.seen_late
    return ThumbnailBatch(size, made, [f"{left.parameter}: {left.why}" for left in planned.left_out] + refused, facts)


def make_with_appetiser(
    image: ImageContext, spec: IngestSpec, path: Path, results: Mapping[Stage, StageResult]
) -> ThumbnailBatch:
    """Request all sizes of a file, each by its pixels. Raises the errors of the error tree."""
    max_pixels = image.policy.max_pixels
    source = _inspect(image, path)
    planned = plan_thumbnails(spec.sizes, source.size)
    asks = [ask for ask in planned.asks if not _is_too_large(ask, max_pixels)]
    made = _ask_appetiser(image, spec, path, asks, plain=source.plain) if asks else []
    facts: dict[str, object] = {
        "made_by": f"Appetiser, {'from what is stored' if source.plain else 'by way of a JP2 that is not kept'}",
        "size_from": source.described,
    }
    known = measured_size(results)
    if known and known != source.size:
        facts["note"] = f"{_shown(known)} was recorded before, {source.described} says {_shown(source.size)}"
    too_large = [ask for ask in planned.asks if ask not in asks]
    left_out = [f"{each.parameter}: {each.why}" for each in planned.left_out]
    left_out += [f"{ask.parameter}: no JPEG of {ask.expected} is made, it has too many pixels" for ask in too_large]
    return ThumbnailBatch(source.size, made, left_out, facts)


def measured_size(results: Mapping[Stage, StageResult]) -> Size | None:
    """Return the picture's size as an earlier stage, in this run or another, measured it."""
    for stage in (Stage.JP2, Stage.ORIGINAL):
        facts = results[stage].facts if stage in results else {}
        if facts.get("width"):
            return Size(facts["width"], facts["height"])
    return None


def _served_size(
    spec: IngestSpec, session: ImageServerSession, identifier: str, results: Mapping[Stage, StageResult]
) -> tuple[Size, str | None]:
    """Return the size of the picture as it will be served, and a note where two sources differ about it."""
    measured = measured_size(results)
    original = results.get(Stage.ORIGINAL)
    turned = original is not None and "orientation" in original.facts and spec.plan.jp2_outcome is not Outcome.CONVERTED
    if measured and not turned:
        return measured, None
    served = session.info(identifier)
    if measured and measured != served:
        note = f"The bytes say {measured.width} x {measured.height}, the image server {served.width} x {served.height}"
        return served, note
    return served, None


def _ask_image_server(
    session: ImageServerSession, identifier: str, planned: ThumbnailPlan, size: Size, threads: Executor
) -> tuple[list[ThumbnailBytes], list[str]]:
    def ask(one: ThumbnailAsk) -> ThumbnailBytes | Refused:
        instead = session.instead_of(one, size)
        if instead is None:
            return session.thumbnail(identifier, one.parameter, session.size_parameter(one), size)
        larger = session.thumbnail(identifier, instead.parameter, session.size_parameter(instead), size)
        return larger if isinstance(larger, Refused) else scaled_thumbnail(larger, one.expected)

    made: list[ThumbnailBytes] = []
    refused: list[str] = []
    for one, answer in zip(planned.asks, threads.map(ask, planned.asks), strict=True):
        if isinstance(answer, Refused):
            refused.append(f"{one.parameter}: the image server refused it: {answer.reason}")
        else:
            made.append(answer)
    return made, refused


@dataclass(frozen=True, slots=True)
class _FileSource:
    """`plain`: its pixels can be scaled and written as they are stored: upright, in sRGB, without transparency."""

    size: Size
    plain: bool
    described: str


def _ask_appetiser(
    image: ImageContext, spec: IngestSpec, path: Path, asks: list[ThumbnailAsk], *, plain: bool
) -> list[ThumbnailBytes]:
    try:
        return image.services.appetiser.thumbnails(
            job_id=image.item.request_id,
            image_id=image.item.asset_id.asset,
            origin=shown_url(spec.origin.url),
            source=path,
            sizes=[ask.expected for ask in asks],
            by_way_of_jp2=not plain,
        )
    except PermanentError as error:
        blamed = blame_appetiser(image, error)
        if plain or blamed is not error or error.code != "conversion_failed":
            raise blamed from error
        # The picture may well be whole: Appetiser knows fewer kinds than image servers do.
        raise PermanentError(
            error.code,
            error.cause,
            remedy="Put a grey or RGB image of 8 bits a channel at its origin, or have thumbnails made by the image "
            "server (DLCS_THUMBNAILS_BY), which reads more kinds; then ingest it again.",
        ) from error


def _inspect(image: ImageContext, path: Path) -> _FileSource:
    header = image.services.pictures.run(inspect, path)
    size = Size(header.width, header.height)
    if header.format.is_jp2:
        return _FileSource(size, plain=True, described="the JP2's header")
    as_jpeg = header.colour in _PLAIN_COLOURS and header.bits == _JPEG_BITS and not header.has_alpha
    plain = as_jpeg and header.orientation == 1 and not header.has_profile
    described = "the original's header" + (", turned upright" if header.orientation > 1 else "")
    return _FileSource(size, plain, described)


def _is_too_large(ask: ThumbnailAsk, max_pixels: int) -> bool:
    return ask.expected.longest > MAX_JPEG_EDGE or ask.expected.area > max_pixels


def _shown(size: Size) -> str:
    return f"{size.width} x {size.height}"
