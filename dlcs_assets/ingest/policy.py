"""What decides about images, apart from where the services are: a part of the settings, and the customers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dlcs_assets.customers import customers_file
from dlcs_assets.domain.customers import Customers
from dlcs_assets.domain.thumbnails import ThumbnailMaker
from dlcs_assets.ledger.records import RetrySchedule
from dlcs_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class IngestPolicy:
    """What decides about an image, apart from where the services are. `customers` gives those in force just now."""

    customers: Callable[[], Customers]
    origin_bucket: str | None
    own_buckets: tuple[str, str]
    default_thumbnail_sizes: tuple[str, ...]
    engine_open_thumbnails: bool
    max_pixels: int
    profile: str
    tells_cdn: bool
    thumbnails_by: ThumbnailMaker
    s3_uri_region: str | None = None


def ingest_policy(settings: Settings) -> IngestPolicy:
    """Return what the settings decide about an image."""
    return IngestPolicy(
        customers=customers_file(settings).customers,
        origin_bucket=settings.origin_bucket,
        own_buckets=(settings.storage_bucket, settings.thumbs_bucket),
        default_thumbnail_sizes=settings.default_thumbnail_sizes,
        engine_open_thumbnails=settings.engine_open_thumbnails,
        max_pixels=settings.max_pixels,
        profile=settings.appetiser_optimisation,
        tells_cdn=settings.invalidation_topic_arn is not None,
        thumbnails_by=settings.thumbnails_by,
        s3_uri_region=settings.s3_uri_region,
    )


def retry_schedule(settings: Settings) -> RetrySchedule:
    """Return when an image is tried again, as the settings say."""
    return RetrySchedule(settings.attempts, settings.attempt_delay)
