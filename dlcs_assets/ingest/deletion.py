"""Deleting an image: every object of it in our own buckets, but none that is some image's origin."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dlcs_assets.clients.storage import Storage
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.storage_keys import jp2_key, storage_prefix, thumbnail_prefix, transient_prefix


def delete_objects(
    storage: Storage, asset_id: AssetId, origins_among: Callable[[str, Collection[str]], set[str]]
) -> tuple[int, list[str]]:
    """Delete them; return how many, and the keys that were left alone. Raises the errors of the error tree."""
    in_storage = {
        jp2_key(asset_id),
        *storage.list_keys(storage.storage_bucket, storage_prefix(asset_id)),
        *storage.list_keys(storage.storage_bucket, transient_prefix(asset_id)),
    }
    in_thumbs = {str(asset_id), *storage.list_keys(storage.thumbs_bucket, thumbnail_prefix(asset_id))}
    deleted, left = 0, []
    for bucket, keys in ((storage.thumbs_bucket, in_thumbs), (storage.storage_bucket, in_storage)):
        origins = origins_among(bucket, keys)
        storage.delete(bucket, sorted(keys - origins))
        deleted += len(keys - origins)
        left += sorted(f"s3://{bucket}/{key}" for key in origins)
    return deleted, left
