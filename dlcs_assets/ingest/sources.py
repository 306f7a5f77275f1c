"""What thumbnails are made from, and by which identifier: an object in S3, or a file on a shared disk."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_plan import ImageServerSource
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.storage_keys import jp2_key, original_key, transient_key
from dlcs_assets.ingest.job import Job
from dlcs_assets.ingest.original import fetch_original, put_transient

FOR_ALL_TO_READ = 0o444
FOR_ALL_TO_ENTER = 0o555


@dataclass(frozen=True, slots=True)
class Source:
    """What the image server, or Appetiser, reads. `file` and `brought` are about a shared disk only.

    `brought` says what had to be downloaded to it because this run did not have the file.
    """

    identifier: str
    file: Path | None = None
    brought: str | None = None


def provide_source(job: Job) -> Source:
    """See to it that what thumbnails are made from is where it is looked for. Raises the errors of the error tree."""
    return _on_disk(job) if job.made_from_files else Source(_in_s3(job))


def require_source(job: Job) -> None:
    """See whether what was stored to make thumbnails from is still there.

    Raises `PermanentError`, code `source_missing`: making thumbnails again would not bring it back.
    """
    storage, asset_id = job.services.storage, job.item.asset_id
    match job.plan.source:
        case ImageServerSource.JP2:
            key, made_by = jp2_key(asset_id), Stage.JP2
        case ImageServerSource.ORIGINAL:
            key, made_by = original_key(asset_id), Stage.ORIGINAL
        case _:
            return
    if storage.head(storage.storage_bucket, key) is None:
        raise _missing(key, made_by)


def _in_s3(job: Job) -> str:
    storage, asset_id = job.services.storage, job.item.asset_id
    match job.plan.source:
        case ImageServerSource.ORIGIN:
            assert job.origin.location is not None
            return job.origin.location.uri(job.rules.s3_uri_region)
        case ImageServerSource.TRANSIENT:
            key = transient_key(asset_id, job.item.request_id)
            if job.fetched is None and storage.head(storage.storage_bucket, key) is None:
                fetch_original(job)
                job.guard()
                put_transient(job)
        case ImageServerSource.JP2:
            key = jp2_key(asset_id)
            if Stage.JP2 not in job.results:
                require_source(job)
        case _:
            key = original_key(asset_id)
            if Stage.ORIGINAL not in job.results:
                require_source(job)
    return S3Location(storage.storage_bucket, key).uri(job.rules.s3_uri_region)


def _on_disk(job: Job) -> Source:
    brought = None
    match job.plan.source:
        case ImageServerSource.JP2:
            path = job.jp2
            if path is None:
                path = job.jp2 = job.folder / "image.jp2"
                brought = _download(job, jp2_key(job.item.asset_id), path, Stage.JP2)
        case ImageServerSource.ORIGINAL if job.fetched is None:
            path = job.folder / "original"
            brought = _download(job, original_key(job.item.asset_id), path, Stage.ORIGINAL)
        case _:
            if job.fetched is None:
                fetch_original(job)
                brought = "the original, from its origin"
            assert job.fetched is not None
            path = job.fetched.path
    _open_up(path)
    services = job.services
    seen = services.appetiser.seen_by_appetiser if job.by_appetiser else services.image_server.identifier_of
    return Source(seen(path), path, brought)


def _download(job: Job, key: str, path: Path, made_by: Stage) -> str:
    storage = job.services.storage
    try:
        storage.download(storage.storage_bucket, key, path)
    except PermanentError as error:
        if error.code == "storage_not_found":
            raise _missing(key, made_by) from error
        raise
    return f"{key}, from the storage bucket"


def _open_up(path: Path) -> None:
    """Let a server that is another user read the file, whatever our umask was. What is Appetiser's can't be changed."""
    for each, mode in ((path, FOR_ALL_TO_READ), (path.parent, FOR_ALL_TO_ENTER)):
        with suppress(PermissionError):
            each.chmod(each.stat().st_mode | mode)


def _missing(key: str, made_by: Stage) -> PermanentError:
    return PermanentError(
        "source_missing",
        f"There is no {key} in the storage bucket to make thumbnails from",
        remedy=f"Materialize {made_by} of this image, too",
        stage=Stage.THUMBNAILS,
    )
