"""What is removed: what an earlier ingest of an image left behind, or a CDN may hold; and all of a deleted image.

Also transient objects, where the run that stored one could not delete it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.ingest_plan import Conversion
from dlcs_assets.domain.ingest_spec import IngestSpec
from dlcs_assets.domain.invalidation import paths_to_invalidate
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.storage_keys import (
    info_prefix,
    jp2_key,
    original_key,
    restricted_key,
    storage_prefix,
    thumbnail_prefix,
    transient_prefix,
)
from dlcs_assets.ingest.context import ImageContext
from dlcs_assets.ledger.ledger import Ledger


def paths_to_close(image: ImageContext, spec: IngestSpec, result: StageResult) -> tuple[str, ...]:
    """Return what a CDN is to forget: all of an image whose thumbnails were open to everyone and no longer are."""
    now = {stored.key for stored in result.objects}
    closed = any(restricted_key(stored.key) in now for stored in image.item.objects)
    return paths_to_invalidate(image.item.asset_id, [item.channel for item in spec.channels]) if closed else ()


def remove_superseded(image: ImageContext, spec: IngestSpec) -> None:
    """Delete the JP2 and the original where the plan has none, and what image servers cached of the picture before.

    Thumbnails are removed by the stage that makes them.
    """
    if image.is_unstored:
        return
    storage, asset_id = image.services.storage, image.item.asset_id
    bucket = storage.storage_bucket
    there = storage.list_keys(bucket, storage_prefix(asset_id))
    superseded = {key for key in there if key.startswith(info_prefix(asset_id))}
    if not spec.plan.keep_original:
        superseded |= {original_key(asset_id)}.intersection(there)
    if spec.plan.conversion is Conversion.NONE:
        superseded.add(jp2_key(asset_id))
    if not superseded:
        return
    ours = superseded - image.ledger.origins_among(bucket, superseded)
    image.check_before_deleting()
    storage.delete(bucket, sorted(ours))
    for stored in image.item.objects:
        if stored.bucket == bucket and stored.key in ours:
            image.ledger.forget_object(bucket, stored.key)


def drop_left_transient(storage: Storage, ledger: Ledger, *, limit: int) -> tuple[int, IngestError | None]:
    """Delete up to `limit` transient objects that runs left in S3; return how many, and why others were not.

    Buckets do not wait for each other. The ledger still has what could not be deleted.
    """
    by_bucket: dict[str, list[str]] = {}
    for location in ledger.results.left_transient(limit=limit):
        by_bucket.setdefault(location.bucket, []).append(location.key)
    deleted, problem = 0, None
    for bucket, keys in by_bucket.items():
        try:
            storage.delete(bucket, keys)
        except IngestError as error:
            problem = error
            continue
        for key in keys:
            ledger.results.remove_transient(bucket, key)
        deleted += len(keys)
    return deleted, problem


def delete_image_objects(
    storage: Storage,
    asset_id: AssetId,
    origins_among: Callable[[str, Collection[str]], set[str]],
    check_claim: Callable[[], None],
) -> tuple[int, list[str]]:
    """Delete every object of an image in our own buckets, but none that is some image's origin.

    `check_claim` is called before each call that deletes. Returns how many were deleted, and the addresses of those
    that were skipped. Raises the errors of the error tree.
    """
    in_storage = {
        jp2_key(asset_id),
        *storage.list_keys(storage.storage_bucket, storage_prefix(asset_id)),
        *storage.list_keys(storage.storage_bucket, transient_prefix(asset_id)),
    }
    in_thumbs = {str(asset_id), *storage.list_keys(storage.thumbs_bucket, thumbnail_prefix(asset_id))}
    deleted = 0
    skipped: list[str] = []
    for bucket, keys in ((storage.thumbs_bucket, in_thumbs), (storage.storage_bucket, in_storage)):
        origins = origins_among(bucket, keys)
        check_claim()
        storage.delete(bucket, sorted(keys - origins))
        deleted += len(keys - origins)
        skipped += sorted(f"s3://{bucket}/{key}" for key in origins)
    return deleted, skipped
