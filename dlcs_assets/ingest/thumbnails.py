"""The third stage: thumbnails from the image server or Appetiser, checked, published, what they replace removed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Executor

from dlcs_assets.domain.ingest_spec import IngestSpec
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult, joint_version
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.storage_keys import sizes_key, thumbnail_key, thumbnail_prefix
from dlcs_assets.domain.thumbnails import thumbnail_set
from dlcs_assets.ingest.context import ImageContext, Stopwatch
from dlcs_assets.ingest.original import FetchedOriginal
from dlcs_assets.ingest.picture_check import check_thumbnails
from dlcs_assets.ingest.sources import Source
from dlcs_assets.ingest.thumbnail_makers import make_with_appetiser, make_with_image_server


def no_thumbnails(image: ImageContext, spec: IngestSpec) -> StageResult:
    """Remove all thumbnails where the plan has none."""
    _remove_others(image, keep=frozenset())
    return StageResult(Stage.THUMBNAILS, Outcome.NOT_REQUIRED, "not required", {"why": spec.plan.why})


def make_thumbnails(  # noqa: PLR0917 (what comes of the stages before)
    image: ImageContext,
    spec: IngestSpec,
    source: Source,
    original: FetchedOriginal | None,
    results: Mapping[Stage, StageResult],
    threads: Executor,
    watch: Stopwatch,
) -> tuple[StageResult, bytes | None]:
    """Make every size, publish them, then `s.json`, then remove what is not of the new set.

    Returns the result, and the smallest open thumbnail, to be shown (None if all are restricted). `results` are those
    of the earlier stages, in this run or before; `original` is what this run has of it. Raises the errors of the
    error tree.
    """
    asset_id = image.item.asset_id
    if image.thumbnails_by_appetiser:
        assert source.file is not None
        batch = make_with_appetiser(image, spec, source.file, results)
    else:
        batch = make_with_image_server(image, spec, source, results, threads)
    check_thumbnails(image, spec, source, original, batch.made)
    chosen = thumbnail_set(
        [thumbnail.size for thumbnail in batch.made],
        max_unauthorised=spec.registration.max_unauthorised,
        roles=spec.registration.roles,
        engine_open_thumbnails=spec.engine_open_thumbnails,
    )
    of_size = {thumbnail.size: thumbnail for thumbnail in reversed(batch.made)}
    image.check_before_publishing()
    stored = [
        _put(image, thumbnail_key(asset_id, size.longest, chosen.is_open(size)), of_size[size].data)
        for size in (*chosen.open, *chosen.auth)
    ]
    image.check_before_publishing()
    listed = [*stored]
    if chosen.sizes or not image.policy.of_dlcs:
        listed.append(_put(image, sizes_key(asset_id), chosen.sizes_json().encode(), ObjectKind.SIZES))
    _remove_others(image, keep=frozenset(record.key for record in listed))
    facts: dict[str, object] = {
        "width": batch.size.width,
        "height": batch.size.height,
        "sizes": [[made_size.width, made_size.height] for made_size in (*chosen.open, *chosen.auth)],
        "open": len(chosen.open),
        "restricted": len(chosen.auth),
        "bytes": sum(record.bytes for record in stored),
        # A file is gone after the run: nothing can lead there.
        "file" if source.file else "source": source.identifier,
        "location": S3Location(image.services.storage.thumbs_bucket, thumbnail_prefix(asset_id)).uri(
            image.policy.s3_uri_region
        ),
        "sha256": joint_version(listed),
        "milliseconds": watch.milliseconds,
    }
    facts |= batch.facts
    if batch.left_out:
        facts["left_out"] = batch.left_out
    if source.downloaded:
        facts["brought_to_disk"] = source.downloaded
    smallest = min(chosen.open, key=lambda size: size.longest, default=None)
    result = StageResult(Stage.THUMBNAILS, Outcome.MADE, str(facts["sha256"]), facts, tuple(listed))
    return result, of_size[smallest].data if smallest else None


def _put(image: ImageContext, key: str, data: bytes, kind: ObjectKind = ObjectKind.THUMBNAIL) -> ObjectRecord:
    storage = image.services.storage
    content_type = "image/jpeg" if kind is ObjectKind.THUMBNAIL else "application/json"
    stored = storage.put_bytes(data, storage.thumbs_bucket, key, content_type=content_type)
    return ObjectRecord(
        stored.bucket, stored.key, kind, stored.bytes, hashlib.sha256(data).hexdigest(), stored.content_type
    )


def _remove_others(image: ImageContext, *, keep: frozenset[str]) -> None:
    """Delete thumbnails of other sizes, of the other prefix (open, auth) and of the legacy layout."""
    if image.is_unstored:
        return
    storage = image.services.storage
    there = storage.list_keys(storage.thumbs_bucket, thumbnail_prefix(image.item.asset_id))
    stale = {key for key in there if key not in keep and (key.endswith(".jpg") or not keep)}
    if stale:
        ours = stale - image.ledger.origins_among(storage.thumbs_bucket, stale)
        image.check_before_deleting()
        storage.delete(storage.thumbs_bucket, sorted(ours))
