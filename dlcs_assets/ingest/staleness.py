"""What an image comes to under today's customers and settings, told from what is registered and recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import DeliveryChannel, resolve_channels, thumbnail_sizes
from dlcs_assets.domain.ingest_plan import plan_ingest
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.recipe import IngestSpec, outdated
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ingest.policy import IngestPolicy


def channels_of(
    asset_id: AssetId, registration: Registration, results: Mapping[Stage, StageResult], rules: IngestPolicy
) -> tuple[DeliveryChannel, ...]:
    """Return the channels that apply today. Raises IngestError for an image that could not be ingested today."""
    customer = rules.customers().get(asset_id.customer)
    media_type = registration.media_type or _facts(results).get("media_type")
    return resolve_channels(registration.channels, media_type, customer.policies, space=asset_id.space)


def ingest_spec(
    asset_id: AssetId,
    registration: Registration,
    results: Mapping[Stage, StageResult],
    rules: IngestPolicy,
) -> IngestSpec:
    """Return what would be made of an image today. Raises IngestError for one that could not be ingested today."""
    customer = rules.customers().get(asset_id.customer)
    origin = customer.origin(registration.origin, portal_bucket=rules.origin_bucket, own_buckets=rules.own_buckets)
    channels = channels_of(asset_id, registration, results, rules)
    media_type = _facts(results).get("media_type")
    plan = plan_ingest(
        channels, optimised=origin.optimised, is_jp2=None if media_type is None else media_type == "image/jp2"
    )
    sizes = thumbnail_sizes(channels, customer.policies, rules.default_thumbnail_sizes)
    return IngestSpec(registration, plan, sizes, rules.profile, rules.engine_open_thumbnails)


def stale_stages(
    asset_id: AssetId,
    registration: Registration,
    results: Mapping[Stage, StageResult],
    rules: IngestPolicy,
) -> dict[Stage, tuple[str, ...]]:
    """Return the stages that would give something else today, each with its reasons. Raises as `ingest_spec`."""
    today = ingest_spec(asset_id, registration, results, rules).recipes()
    return outdated({stage: result.recipe for stage, result in results.items()}, today)


def _facts(results: Mapping[Stage, StageResult]) -> Mapping[str, Any]:
    original = results.get(Stage.ORIGINAL)
    return original.facts if original else {}
