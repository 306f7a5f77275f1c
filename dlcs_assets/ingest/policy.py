"""The ingest policy and the retry schedule, as the settings have them."""

from __future__ import annotations

from dlcs_assets.customers import customer_source
from dlcs_assets.domain.ingest_spec import IngestPolicy
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.settings import Settings


def ingest_policy(settings: Settings) -> IngestPolicy:
    """Return what the settings and their customers decide about all images."""
    return IngestPolicy(
        customers=customer_source(settings).customers,
        origin_bucket=settings.origin_bucket,
        own_buckets=(settings.storage_bucket, settings.thumbs_bucket),
        default_thumbnail_sizes=settings.default_thumbnail_sizes,
        engine_open_thumbnails=settings.engine_open_thumbnails,
        max_pixels=settings.max_pixels,
        profile=settings.appetiser_optimisation,
        notifies_cdn=settings.invalidation_topic_arn is not None,
        thumbnails_by=settings.thumbnails_by,
        s3_uri_region=settings.s3_uri_region,
        of_dlcs=settings.database_url is not None,
    )


def retry_schedule(settings: Settings) -> RetrySchedule:
    """Return when an image is tried again, as the settings say."""
    return RetrySchedule(settings.attempts, settings.attempt_delay, writes_back=settings.database_url is not None)
