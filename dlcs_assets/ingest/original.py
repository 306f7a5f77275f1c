"""The first stage: the original is fetched, looked at, and kept where the plan says so."""

from __future__ import annotations

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_plan import Conversion, ImageServerSource
from dlcs_assets.domain.media_type import sniff
from dlcs_assets.domain.quota import LEAST_BYTES, stored_kinds
from dlcs_assets.domain.recipe import is_only_released
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Stage
from dlcs_assets.domain.storage_keys import original_key, transient_key
from dlcs_assets.ingest.image_probe import probe_image
from dlcs_assets.ingest.job import Job, Stopwatch

HEAD_BYTES = 65536
UNKNOWN_TYPE = "application/octet-stream"
# What other formats are made of: bytes that look like these may well be text/csv or a word processor's.
GENERAL_TYPES = frozenset({"text/plain", "application/xml", "application/zip"})
PARTICULAR = ("text/", "application/")


def make_original(job: Job) -> StageResult:
    """Do what the plan says of the original; the job then knows its bytes, its format and the final plan."""
    if (released := _released(job)) is not None:
        return released
    watch = Stopwatch()
    facts: dict[str, object] = {"origin": shown_url(job.origin.url)}
    if job.origin.note:
        facts["note"] = job.origin.note
    objects: tuple[ObjectRecord, ...] = ()
    if job.plan.fetch:
        fetch_original(job)
        assert job.fetched is not None
        objects = _keep(job)
        data_version = job.fetched.sha256
        facts |= {"bytes": job.fetched.bytes, "sha256": job.fetched.sha256, "media_type": _media_type(job)}
        if job.fetched.version:
            facts["origin_version"] = job.fetched.version
        if job.picture:
            facts |= {"width": job.picture.width, "height": job.picture.height}
            if job.picture.has_orientation:
                facts["orientation"] = job.picture.orientation
    elif job.plan.source is ImageServerSource.ORIGIN or job.plan.row == "file":
        peeked = job.peek()
        if job.plan.thumbnails:
            _require_image(job)
        data_version = peeked.version or str(peeked.size)
        facts |= {"bytes": peeked.size, "media_type": _media_type(job), "origin_version": peeked.version}
    else:
        data_version = "nothing"
    facts |= {
        "location": _location(job, objects),
        "plan": job.plan.row,
        "why": job.plan.why,
        "milliseconds": watch.milliseconds,
    }
    return StageResult(
        Stage.ORIGINAL,
        job.plan.original_outcome,
        data_version,
        {name: value for name, value in facts.items() if value is not None},
        objects,
    )


def _released(job: Job) -> StageResult | None:
    """Return what is known of an original that is kept no longer, where nothing else changed and nobody needs it."""
    before = job.item.latest.get(Stage.ORIGINAL)
    if before is None or not is_only_released(before.recipe, job.spec.recipes()[Stage.ORIGINAL]):
        return None
    if Stage.JP2 in job.item.stages and job.plan.conversion is not Conversion.NONE:
        return None
    facts = {**before.facts, "plan": job.plan.row, "why": job.plan.why}
    facts.pop("location", None)
    return StageResult(Stage.ORIGINAL, job.plan.original_outcome, before.data_version, facts)


def fetch_original(job: Job) -> None:
    """Bring the original to the scratch folder, from our own storage if it was kept there, else from its origin."""
    job.require_room(LEAST_BYTES, stored_kinds(job.plan, job.item.stages))
    path = job.folder / "original"
    job.fetched = job.services.origins.fetch(job.origin, path)
    with path.open("rb") as file:
        job.format = sniff(file.read(HEAD_BYTES))
    if job.plan.source is not ImageServerSource.NONE:
        _require_image(job)
        job.picture = probe_image(path, max_pixels=job.rules.max_pixels)
        job.format = job.picture.format
    job.replan()


def put_transient(job: Job) -> ObjectRecord:
    """Store the original for the image server to read, under a key of this request's own."""
    return _put(job, transient_key(job.item.asset_id, job.item.request_id), ObjectKind.TRANSIENT)


def drop_transient(job: Job) -> None:
    """Delete what `put_transient` stored. A lifecycle rule on `transient/` is the safety net, not the plan."""
    storage = job.services.storage
    storage.delete(storage.storage_bucket, [transient_key(job.item.asset_id, job.item.request_id)])


def _keep(job: Job) -> tuple[ObjectRecord, ...]:
    job.guard()
    if job.plan.keep_original:
        assert job.fetched is not None
        job.require_room(job.fetched.bytes, [ObjectKind.ORIGINAL])
        return (_put(job, original_key(job.item.asset_id), ObjectKind.ORIGINAL),)
    # Whoever shares our disk reads the file that we have.
    if job.plan.transient and not job.made_from_files:
        return (put_transient(job),)
    return ()


def _put(job: Job, key: str, kind: ObjectKind) -> ObjectRecord:
    assert job.fetched is not None
    storage = job.services.storage
    stored = storage.put_file(
        job.fetched.path, storage.storage_bucket, key, content_type=_media_type(job), sha256=job.fetched.sha256
    )
    return ObjectRecord(stored.bucket, stored.key, kind, stored.bytes, job.fetched.sha256, stored.content_type)


def _require_image(job: Job) -> None:
    if job.format is None or not job.format.is_image:
        what = job.format.media_type if job.format else "of no known image format"
        raise PermanentError(
            "not_an_image",
            f"What the origin served is {what}, not an image",
            remedy="Open the origin's URL and correct it, or ask for the file channel only",
            stage=Stage.ORIGINAL,
        )


def _media_type(job: Job) -> str:
    """Return what the bytes are; where they don't tell, what is registered, then what the origin claims."""
    registered = job.item.registration.media_type
    if job.format and job.format.media_type in GENERAL_TYPES and registered and registered.startswith(PARTICULAR):
        return registered
    if job.format:
        return job.format.media_type
    seen = job.fetched or job.peeked
    return registered or (seen.content_type if seen else None) or UNKNOWN_TYPE


def _location(job: Job, objects: tuple[ObjectRecord, ...]) -> str | None:
    kept = [stored for stored in objects if stored.kind is ObjectKind.ORIGINAL]
    if kept:
        return S3Location(kept[0].bucket, kept[0].key).uri(job.rules.s3_uri_region)
    if job.origin.optimised and job.origin.location and job.plan.source is ImageServerSource.ORIGIN:
        return job.origin.location.uri(job.rules.s3_uri_region)
    return None
