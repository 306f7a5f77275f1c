"""After an image's stages: what earlier ingests of it left in the storage bucket, or a CDN may hold, goes."""

from __future__ import annotations

from dlcs_assets.domain.ingest_plan import Conversion
from dlcs_assets.domain.invalidation import paths_to_invalidate
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.storage_keys import info_prefix, jp2_key, original_key, restricted_key, storage_prefix
from dlcs_assets.ingest.job import Job


def paths_to_close(job: Job, result: StageResult) -> tuple[str, ...]:
    """Return what a CDN is to forget: all of an image of which thumbnails were open to everybody and no longer are."""
    now = {stored.key for stored in result.objects}
    closed = any(restricted_key(stored.key) in now for stored in job.item.objects)
    return paths_to_invalidate(job.item.asset_id, [item.channel for item in job.spec.channels]) if closed else ()


def tidy(job: Job) -> list[str]:
    """Delete the JP2 and the original where the plan has none, and what image servers cached of the picture before.

    Returns the keys of what is no longer there. Thumbnails are the business of the stage that makes them.
    """
    storage, asset_id = job.services.storage, job.item.asset_id
    bucket = storage.storage_bucket
    there = storage.list_keys(bucket, storage_prefix(asset_id))
    no_longer = {key for key in there if key.startswith(info_prefix(asset_id))}
    if not job.plan.keep_original:
        no_longer |= {original_key(asset_id)}.intersection(there)
    if job.plan.conversion is Conversion.NONE:
        no_longer.add(jp2_key(asset_id))
    if not no_longer:
        return []
    ours = sorted(no_longer - job.origins_among(bucket, no_longer))
    storage.delete(bucket, ours)
    return ours
