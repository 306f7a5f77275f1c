"""The second stage: the JPEG 2000 that the image services deliver, converted or copied, checked, published."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.ingest_plan import Conversion
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.storage_keys import jp2_key
from dlcs_assets.ingest.image_probe import fingerprint
from dlcs_assets.ingest.job import Job, Stopwatch
from dlcs_assets.ingest.jp2_structure import Jp2Structure, read_jp2_structure
from dlcs_assets.ingest.jp2_validity import faults, only_profile
from dlcs_assets.ingest.original import fetch_original


def make_jp2(job: Job) -> StageResult:
    """Convert or copy the original into `St/{id}`, if the plan has a JP2 at all."""
    watch = Stopwatch()
    if job.plan.conversion is not Conversion.NONE and job.fetched is None:
        fetch_original(job)
    if job.plan.conversion is Conversion.NONE:
        return StageResult(Stage.JP2, Outcome.NOT_REQUIRED, "not required", {"why": job.plan.why})
    assert job.fetched is not None
    if job.plan.conversion is Conversion.APPETISER:
        path, structure = _converted(job)
    else:
        path, structure = job.fetched.path, read_jp2_structure(job.fetched.path)
    found = faults(path)
    if job.plan.conversion is Conversion.APPETISER:
        _check_valid(found)
    if job.plan.jp2_outcome is Outcome.COPIED:
        _check_decodes(path)
    sha256 = _sha256(path)
    job.require_room(path.stat().st_size, [ObjectKind.JP2])
    job.guard()
    storage = job.services.storage
    stored = storage.put_file(
        path, storage.storage_bucket, jp2_key(job.item.asset_id), content_type="image/jp2", sha256=sha256
    )
    job.jp2, job.structure = path, structure
    facts: dict[str, object] = {
        "bytes": stored.bytes,
        "sha256": sha256,
        "source_sha256": job.fetched.sha256,
        "width": structure.width,
        "height": structure.height,
        "location": S3Location(stored.bucket, stored.key).uri(job.rules.s3_uri_region),
        "tile_ready": structure.is_tile_ready,
        "levels": structure.levels,
        "milliseconds": watch.milliseconds,
    }
    notes = []
    if not structure.is_tile_ready:
        notes.append("This JP2 has no tiles or precincts to read it by: delivery of large images will be slow")
    if found:
        notes.append(f"It is not valid to jpylyzer: {', '.join(found)}")
    if notes:
        facts["note"] = ". ".join(notes)
    record = ObjectRecord(stored.bucket, stored.key, ObjectKind.JP2, stored.bytes, sha256, "image/jp2")
    return StageResult(Stage.JP2, job.plan.jp2_outcome, sha256, facts, (record,))


def _converted(job: Job) -> tuple[Path, Jp2Structure]:
    assert job.fetched is not None
    conversion = job.services.appetiser.convert(
        job_id=job.item.request_id,
        image_id=job.item.asset_id.asset,
        origin=shown_url(job.origin.url),
        source=job.fetched.path,
        destination=job.folder / "image.jp2",
    )
    structure = read_jp2_structure(conversion.path)
    measured = (structure.width, structure.height)
    expected = (job.picture.width, job.picture.height) if job.picture else measured
    if measured != expected and measured[::-1] != expected:
        raise TransientError(
            "jp2_wrong_size",
            f"Appetiser made a JP2 of {measured[0]} x {measured[1]} from an original of {expected[0]} x {expected[1]}",
            remedy="See Appetiser's log for this image; it is tried again by itself",
            stage=Stage.JP2,
        )
    return conversion.path, structure


def _check_valid(found: list[str]) -> None:
    if found and not only_profile(found):
        raise PermanentError(
            "jp2_broken",
            f"Appetiser made a JP2 that is not valid: jpylyzer's tests {', '.join(found)} fail",
            remedy="See Appetiser's log for this image, and report it there; the original itself may be good.",
            stage=Stage.JP2,
        )


def _check_decodes(path: Path) -> None:
    try:
        fingerprint(path)
    except PermanentError as error:
        raise PermanentError(
            "jp2_undecodable",
            f"The original is a JP2 that cannot be decoded: {error.cause}",
            remedy="Replace the original by one that opens in an image viewer",
            stage=Stage.JP2,
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
