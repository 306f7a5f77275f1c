"""Thumbnails made by Appetiser from a file of the scratch folder, in one call, with no image server at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlcs_assets.clients.image_server_answer import ThumbnailBytes
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.thumbnails import ThumbnailAsk, plan_thumbnails
from dlcs_assets.ingest.decoders import opened, sniff_image
from dlcs_assets.ingest.image_probe import probe_image
from dlcs_assets.ingest.job import Job
from dlcs_assets.ingest.jp2_structure import read_jp2_structure
from dlcs_assets.ingest.pictures import ThumbnailBatch

# libjpeg's limit.
MAX_JPEG_EDGE: Final = 65_500
# What a JPEG can hold as it is. Anything else Appetiser fails at, or shows in other colours, without a JP2 in between.
_PLAIN_MODES: Final = frozenset({"L", "RGB"})


@dataclass(frozen=True, slots=True)
class _Source:
    """`plain`: its pixels can be scaled and written as they are stored: upright, in sRGB, without transparency."""

    size: Size
    plain: bool
    described: str


def make_with_appetiser(job: Job, path: Path) -> ThumbnailBatch:
    """Have all sizes made of a file, each asked for by its pixels. Raises the errors of the error tree."""
    source = _look_at(path, job.rules.max_pixels)
    planned = plan_thumbnails(job.spec.sizes, source.size)
    asks = [ask for ask in planned.asks if not _is_too_large(ask, job.rules.max_pixels)]
    made = _made(job, path, asks, plain=source.plain) if asks else []
    facts: dict[str, object] = {
        "made_by": f"Appetiser, {'from what is stored' if source.plain else 'by way of a JP2 that is not kept'}",
        "size_from": source.described,
    }
    known = job.known_size
    if known and known != source.size:
        facts["note"] = f"{_shown(known)} was recorded before, {source.described} says {_shown(source.size)}"
    too_large = [ask for ask in planned.asks if ask not in asks]
    left_out = [f"{each.parameter}: {each.why}" for each in planned.left_out]
    left_out += [f"{ask.parameter}: no JPEG of {ask.expected} is made, it has too many pixels" for ask in too_large]
    return ThumbnailBatch(source.size, made, left_out, facts)


def _made(job: Job, path: Path, asks: list[ThumbnailAsk], *, plain: bool) -> list[ThumbnailBytes]:
    try:
        return job.services.appetiser.thumbnails(
            job_id=job.item.request_id,
            image_id=job.item.asset_id.asset,
            origin=shown_url(job.origin.url),
            source=path,
            sizes=[ask.expected for ask in asks],
            by_way_of_jp2=not plain,
        )
    except PermanentError as error:
        if plain or error.code != "conversion_failed":
            raise
        # The picture may well be whole: Appetiser knows fewer kinds of them than image servers do.
        raise PermanentError(
            error.code,
            error.cause,
            remedy="Put a grey or RGB image of 8 bits a channel at its origin, or have thumbnails made by the image "
            "server (DLCS_THUMBNAILS_BY), which reads more kinds; then ingest it again.",
        ) from error


def _look_at(path: Path, max_pixels: int) -> _Source:
    source_format = sniff_image(path)
    if source_format.is_jp2:
        structure = read_jp2_structure(path)
        return _Source(Size(structure.width, structure.height), plain=True, described="the JP2's header")
    picture = probe_image(path, max_pixels=max_pixels)
    with opened(path, source_format) as image:
        as_jpeg = image.mode in _PLAIN_MODES and not image.has_transparency_data
        plain = as_jpeg and picture.orientation == 1 and not image.info.get("icc_profile")
    described = "the original's header" + (", turned upright" if picture.orientation > 1 else "")
    return _Source(Size(picture.width, picture.height), plain, described)


def _is_too_large(ask: ThumbnailAsk, max_pixels: int) -> bool:
    return ask.expected.longest > MAX_JPEG_EDGE or ask.expected.area > max_pixels


def _shown(size: Size) -> str:
    return f"{size.width} x {size.height}"
