"""What thumbnails are made from, and by which identifier: an object in S3, or a file in the scratch folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.image_servers import require_read_right, require_readable
from dlcs_assets.domain.ingest_plan import ImageServerSource
from dlcs_assets.domain.ingest_spec import IngestSpec, KnownFormat
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.storage_keys import jp2_key, original_key, transient_key
from dlcs_assets.ingest.context import ImageContext
from dlcs_assets.ingest.control_picture import make_readable
from dlcs_assets.ingest.original import FetchedOriginal, PeekedOriginal, peek_at_origin


@dataclass(frozen=True, slots=True)
class Source:
    """What the image server, or Appetiser, reads. `file` and `downloaded` are about the scratch folder only.

    `downloaded` says what had to be downloaded for that. `at_hand` is a file of the same picture, to compare with; None
    if this run has none.
    """

    identifier: str
    file: Path | None = None
    downloaded: str | None = None
    at_hand: Path | None = None


def require_readable_source(
    image: ImageContext,
    spec: IngestSpec,
    seen: FetchedOriginal | PeekedOriginal | None,
    results: Mapping[Stage, StageResult],
) -> None:
    """Refuse what the image server cannot read; the origin is peeked at where it must be, and no one has.

    Raises `PermanentError`, code `image_server_reads_no_jp2`.
    """
    if image.thumbnails_by_appetiser or image.services.image_server.reads_jp2:
        return
    if seen is None and spec.plan.source is ImageServerSource.ORIGIN:
        seen = peek_at_origin(image)
    source_format = seen.format if seen else None
    media_type = source_format.media_type if source_format else KnownFormat.recorded(results).media_type
    require_readable(spec.plan, media_type)


def require_shown_right(image: ImageContext, spec: IngestSpec, seen: FetchedOriginal | PeekedOriginal | None) -> None:
    """Refuse an original that the image server would read itself, and not show as it is.

    Raises `PermanentError`, code `image_server_misreads`.
    """
    if image.thumbnails_by_appetiser or seen is None or seen.format is None:
        return
    header = seen.image if isinstance(seen, FetchedOriginal) else None
    require_read_right(image.services.image_server.kind, spec.plan, header or seen.format.media_type)


def needs_original(image: ImageContext, spec: IngestSpec) -> bool:
    """Return whether thumbnails can only be made with the original in the scratch folder.

    That is so where files are read and the plan stores none, and where its transient object is gone or was never made.
    """
    source = spec.plan.source
    if image.thumbnails_from_files:
        return source not in {ImageServerSource.JP2, ImageServerSource.ORIGINAL}
    key = transient_key(image.item.asset_id, image.item.request_id)
    storage = image.services.storage
    return source is ImageServerSource.TRANSIENT and storage.head(storage.storage_bucket, key) is None


def provide_source(
    image: ImageContext, spec: IngestSpec, original: FetchedOriginal | None, jp2: Path | None, *, fetched_late: bool
) -> Source:
    """Return what thumbnails are made from, and ensure that it is there.

    `original` and `jp2` are what this run has in the scratch folder (`fetched_late`: the original for this alone).
    Raises the errors of the error tree.
    """
    is_jp2 = spec.plan.source is ImageServerSource.JP2
    path = jp2 if is_jp2 else original.file.path if original else None
    if not image.thumbnails_from_files:
        return Source(_object_in_s3(image, spec), at_hand=path)
    downloaded = "the original, from its origin" if fetched_late else None
    if path is None:
        key, made_by = _stored(image, spec)
        path = image.folder / ("image.jp2" if is_jp2 else "original")
        downloaded = _download(image, key, path, made_by)
    make_readable(path)
    services = image.services
    seen_as = (
        services.appetiser.seen_by_appetiser if image.thumbnails_by_appetiser else services.image_server.identifier_of
    )
    return Source(seen_as(path), path, downloaded, at_hand=path)


def download_source(image: ImageContext, spec: IngestSpec) -> Path | None:
    """Bring what the image server reads in S3 to the scratch folder, to compare with; None if that is at the origin.

    Raises the errors of the error tree.
    """
    match spec.plan.source:
        case ImageServerSource.JP2 | ImageServerSource.ORIGINAL:
            key, made_by = _stored(image, spec)
        case ImageServerSource.TRANSIENT:
            key, made_by = transient_key(image.item.asset_id, image.item.request_id), Stage.ORIGINAL
        case _:
            return None
    path = image.folder / "compared-with"
    _download(image, key, path, made_by)
    return path


def require_source(image: ImageContext, spec: IngestSpec) -> None:
    """Check that what was stored to make thumbnails from is still there.

    Raises `PermanentError`, code `source_missing` or `storage_archived`: making thumbnails again would not restore it.
    """
    if spec.plan.source not in {ImageServerSource.JP2, ImageServerSource.ORIGINAL}:
        return
    key, made_by = _stored(image, spec)
    storage = image.services.storage
    if storage.require(storage.storage_bucket, key) is None:
        raise _missing(key, made_by)


def explain_unseen(image: ImageContext, spec: IngestSpec) -> None:
    """Raise the true reason, if there is one that we see ourselves, for a source that the image server does not get.

    Raises the errors of the error tree that are permanent.
    """
    require_source(image, spec)
    if spec.plan.source is ImageServerSource.ORIGIN:
        with suppress(TransientError):
            peek_at_origin(image)


def _object_in_s3(image: ImageContext, spec: IngestSpec) -> str:
    region = image.policy.s3_uri_region
    if spec.plan.source is ImageServerSource.ORIGIN:
        assert spec.origin.location is not None
        return spec.origin.location.uri(region)
    if spec.plan.source is ImageServerSource.TRANSIENT:
        key = transient_key(image.item.asset_id, image.item.request_id)
    else:
        key, made_by = _stored(image, spec)
        if made_by not in image.item.stages:  # otherwise this run, or an earlier one of the request, has just stored it
            require_source(image, spec)
    return S3Location(image.services.storage.storage_bucket, key).uri(region)


def _stored(image: ImageContext, spec: IngestSpec) -> tuple[str, Stage]:
    """Return the key of the stored JP2 or original, and the stage that stores it."""
    asset_id = image.item.asset_id
    if spec.plan.source is ImageServerSource.JP2:
        return jp2_key(asset_id), Stage.JP2
    return original_key(asset_id), Stage.ORIGINAL


def _download(image: ImageContext, key: str, path: Path, made_by: Stage) -> str:
    storage = image.services.storage
    try:
        storage.download(storage.storage_bucket, key, path)
    except PermanentError as error:
        if error.code == "storage_not_found":
            raise _missing(key, made_by) from error
        raise
    return f"{key}, from the storage bucket"


def _missing(key: str, made_by: Stage) -> PermanentError:
    return PermanentError(
        "source_missing",
        f"There is no {key} in the storage bucket to make thumbnails from",
        remedy=f"Materialize {made_by} of this image, too",
        stage=Stage.THUMBNAILS,
    )
