"""The second stage: the JPEG 2000 that the image services deliver, converted or copied, checked, published."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dlcs_assets.domain.errors import PermanentError, TransientError
from dlcs_assets.domain.ingest_plan import Conversion
from dlcs_assets.domain.ingest_spec import IngestSpec
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.storage_keys import jp2_key
from dlcs_assets.ingest.appetiser_trial import blame_appetiser
from dlcs_assets.ingest.context import ImageContext, Stopwatch
from dlcs_assets.ingest.original import FetchedOriginal
from dlcs_assets.ingest.picture_check import require_same_picture
from dlcs_assets.pictures.jp2_structure import Jp2Structure
from dlcs_assets.pictures.tasks import Jp2Report, compare_jp2, examine_jp2


def no_jp2(spec: IngestSpec) -> StageResult:
    """Return the result where the plan has no JP2."""
    return StageResult(Stage.JP2, Outcome.NOT_REQUIRED, "not required", {"why": spec.plan.why})


def make_jp2(
    image: ImageContext, spec: IngestSpec, original: FetchedOriginal, watch: Stopwatch
) -> tuple[Path, StageResult]:
    """Convert or copy the original into `St/{id}`; return the JP2's file in the scratch folder, and the result.

    Raises the errors of the error tree.
    """
    converts = spec.plan.conversion is Conversion.APPETISER
    path = _convert(image, spec, original) if converts else original.file.path
    if converts:
        assert original.look is not None  # it is an image, or it would not have been converted
        report = image.services.pictures.run(compare_jp2, path, original.look)
        _check_size(report.structure, original)
        require_same_picture(report)
    else:
        report = image.services.pictures.run(examine_jp2, path)
        _require_decodable(report)
    structure = report.structure
    notes = [*structure.notes, *(f"jpylyzer's test {name} fails" for name in report.faults)]
    sha256 = _sha256(path)
    image.require_room(spec, path.stat().st_size, [ObjectKind.JP2])
    image.check_before_publishing()
    storage = image.services.storage
    stored = storage.put_file(
        path, storage.storage_bucket, jp2_key(image.item.asset_id), content_type="image/jp2", sha256=sha256
    )
    facts: dict[str, object] = {
        "bytes": stored.bytes,
        "sha256": sha256,
        "source_sha256": original.file.sha256,
        "width": structure.width,
        "height": structure.height,
        "location": S3Location(stored.bucket, stored.key).uri(image.policy.s3_uri_region),
        "tile_ready": structure.is_tile_ready,
        "levels": structure.levels,
        "milliseconds": watch.milliseconds,
    }
    if not structure.is_tile_ready:
        notes.append("it has no tiles or precincts to read it by: delivery of large images will be slow")
    if notes:
        facts["note"] = f"About this JP2: {'; '.join(notes)}"
    record = ObjectRecord(stored.bucket, stored.key, ObjectKind.JP2, stored.bytes, sha256, "image/jp2")
    return path, StageResult(Stage.JP2, spec.plan.jp2_outcome, sha256, facts, (record,))


def _convert(image: ImageContext, spec: IngestSpec, original: FetchedOriginal) -> Path:
    try:
        return image.services.appetiser.convert(
            job_id=image.item.request_id,
            image_id=image.item.asset_id.asset,
            origin=shown_url(spec.origin.url),
            source=original.file.path,
            destination=image.folder / "image.jp2",
        ).path
    except PermanentError as error:
        raise blame_appetiser(image, error) from error


def _check_size(structure: Jp2Structure, original: FetchedOriginal) -> None:
    measured = (structure.width, structure.height)
    if original.image is None or measured == (original.image.width, original.image.height):
        return
    if measured == original.image.stored_size:
        raise PermanentError(
            "jp2_not_turned",
            f"The original is to be turned upright (orientation {original.image.orientation}), and Appetiser made a "
            f"JP2 of {measured[0]} x {measured[1]} that is not",
            remedy="Turn the original itself, without a tag that says how it is to be turned; or compress it: "
            "Appetiser turns some TIFFs only if they are",
            stage=Stage.JP2,
        )
    expected = f"{original.image.width} x {original.image.height}"
    raise TransientError(
        "jp2_wrong_size",
        f"Appetiser made a JP2 of {measured[0]} x {measured[1]} from an original of {expected}",
        remedy="See Appetiser's log for this image; it is retried automatically",
        stage=Stage.JP2,
    )


def _require_decodable(report: Jp2Report) -> None:
    if report.undecodable is not None:
        raise PermanentError(
            "jp2_undecodable",
            f"The original is a JP2 that cannot be decoded: {report.undecodable}",
            remedy="Replace the original by one that opens in an image viewer",
            stage=Stage.JP2,
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
