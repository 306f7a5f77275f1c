"""What is to be made of an image: the one answer, for runs, `dlcs plan`, `dlcs stale` and reprocessing alike.

The way is always the same: customer, origin, delivery channels (for which the media type may be needed), plan,
thumbnail sizes, recipes. Nothing is read for it: what earlier work or a peek at the origin found out is a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.delivery import Channel, DeliveryChannel, resolve_channels, thumbnail_sizes
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_plan import Conversion, ImageServerSource, IngestPlan, plan_ingest
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.media_type import UNKNOWN_TYPE, SourceFormat, declared_type
from dlcs_assets.domain.origin import Origin
from dlcs_assets.domain.recipe import CODE_VERSIONS, Recipe, compare_recipes, origin_mark
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Outcome, Stage
from dlcs_assets.domain.thumbnails import UNRESTRICTED, ThumbnailMaker


@dataclass(frozen=True, slots=True)
class IngestPolicy:
    """What the settings and the customers decide about all images. `customers` returns those in force at the moment.

    `of_dlcs`: a DLCS reads what is stored, and answers with an error where `s.json` has nothing to list.
    """

    customers: Callable[[], Customers]
    origin_bucket: str | None
    own_buckets: tuple[str, str]
    default_thumbnail_sizes: tuple[str, ...]
    engine_open_thumbnails: bool
    max_pixels: int
    profile: str
    notifies_cdn: bool
    thumbnails_by: ThumbnailMaker
    s3_uri_region: str | None = None
    of_dlcs: bool = False


@dataclass(frozen=True, slots=True)
class KnownFormat:
    """What is known of an original's format apart from its registration. None: not known.

    `media_type` counts where the registration names none, and may be a guess; `is_jp2` is what the bytes showed.
    """

    media_type: str | None = None
    is_jp2: bool | None = None

    @classmethod
    def recorded(cls, results: Mapping[Stage, StageResult]) -> KnownFormat:
        """Return what an image's earlier results say."""
        original = results.get(Stage.ORIGINAL)
        media_type = original.facts.get("media_type") if original else None
        return cls() if media_type is None else cls(str(media_type), media_type == "image/jp2")

    @classmethod
    def seen(cls, source_format: SourceFormat | None, claimed: str | None) -> KnownFormat:
        """Return what a peek at the origin showed: the format of the bytes, or else what the origin claims."""
        if source_format:
            return cls(source_format.media_type, source_format.is_jp2)
        return cls(declared_type(claimed) or (UNKNOWN_TYPE if claimed else None))


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """What a registration comes to, under the customers and settings in force.

    `sizes` are the size parameters of its thumbnails, those included that do not apply to an image of its size.
    """

    registration: Registration
    customer: Customer
    origin: Origin
    channels: tuple[DeliveryChannel, ...]
    plan: IngestPlan
    sizes: tuple[str, ...]
    profile: str
    engine_open_thumbnails: bool

    def with_format(self, source_format: SourceFormat | None) -> IngestSpec:
        """Return the same for an original whose bytes have been read."""
        return self if source_format is None else replace(self, plan=self._plan(is_jp2=source_format.is_jp2))

    def may_be_transient(self) -> bool:
        """Return whether there is a format for which the original is stored only while thumbnails are made."""
        return any(self._plan(is_jp2=is_jp2).transient for is_jp2 in (False, True))

    def recipes(self) -> Mapping[Stage, Recipe]:
        """Return what decides about each stage's result: plain JSON values."""
        origin = origin_mark(self.registration.origin)
        original: dict[str, Any] = {
            "code": CODE_VERSIONS[Stage.ORIGINAL],
            "origin": origin,
            "kept": self.plan.keep_original,
        }
        jp2: dict[str, Any] = {"code": CODE_VERSIONS[Stage.JP2], "made": False}
        if self.plan.conversion is not Conversion.NONE:
            jp2 |= {"made": True, "origin": origin}
            if self.plan.jp2_outcome is not Outcome.COPIED:
                jp2["profile"] = self.profile
        thumbnails: dict[str, Any] = {"code": CODE_VERSIONS[Stage.THUMBNAILS], "made": self.plan.thumbnails}
        if self.plan.thumbnails:
            registration = self.registration
            unlimited = registration.max_unauthorised == UNRESTRICTED
            thumbnails |= {
                "origin": origin,
                # A kept original and a transient one are the same bytes.
                "source": (ImageServerSource.ORIGINAL if self.plan.transient else self.plan.source).value,
                "sizes": list(self.sizes),
                "limit": registration.max_unauthorised,
                "restricted": unlimited and bool(registration.roles) and not self.engine_open_thumbnails,
            }
        return {Stage.ORIGINAL: original, Stage.JP2: jp2, Stage.THUMBNAILS: thumbnails}

    def _plan(self, *, is_jp2: bool) -> IngestPlan:
        return plan_ingest(self.channels, optimised=self.origin.optimised, is_jp2=is_jp2)


def ingest_spec(
    asset_id: AssetId, registration: Registration, policy: IngestPolicy, known: KnownFormat = KnownFormat()
) -> IngestSpec:
    """Return what is to be made of an image.

    Raises `PermanentError` or `MessageRejectedError` for one that could not be ingested as it is registered.
    """
    customer = policy.customers().get(asset_id.customer)
    origin = _origin(registration, customer, policy)
    channels = channels_of(asset_id, registration, customer, known)
    return IngestSpec(
        registration=registration,
        customer=customer,
        origin=origin,
        channels=channels,
        plan=plan_ingest(channels, optimised=origin.optimised, is_jp2=known.is_jp2),
        sizes=thumbnail_sizes(channels, customer.policies, policy.default_thumbnail_sizes),
        profile=policy.profile,
        engine_open_thumbnails=policy.engine_open_thumbnails,
    )


def origin_of(asset_id: AssetId, registration: Registration, policy: IngestPolicy) -> Origin:
    """Return how an image's original is fetched, all that a peek at it needs. Raises `PermanentError`."""
    return _origin(registration, policy.customers().get(asset_id.customer), policy)


def channels_of(
    asset_id: AssetId, registration: Registration, customer: Customer, known: KnownFormat
) -> tuple[DeliveryChannel, ...]:
    """Return the channels that apply to an image. Raises `MessageRejectedError`."""
    media_type = registration.declared_type or known.media_type
    return resolve_channels(registration.channels, media_type, customer.policies, space=asset_id.space)


def needs_media_type(registration: Registration) -> bool:
    """Return whether the channels depend on the media type, and the registration does not name it."""
    if registration.declared_type is not None:
        return False
    # The policy of the other channels is the same whatever the media type.
    typed = {Channel.IIIF_IMG, Channel.THUMBS}
    channels = registration.channels
    return channels is None or any(item.policy is None and item.channel in typed for item in channels)


def stale_stages(
    asset_id: AssetId, registration: Registration, results: Mapping[Stage, StageResult], policy: IngestPolicy
) -> dict[Stage, tuple[str, ...]]:
    """Return the stages whose recorded results differ from what would be made now, each with its reasons.

    Raises as `ingest_spec` does.
    """
    spec = ingest_spec(asset_id, registration, policy, KnownFormat.recorded(results))
    return compare_recipes({stage: result.recipe for stage, result in results.items()}, spec.recipes())


def _origin(registration: Registration, customer: Customer, policy: IngestPolicy) -> Origin:
    if not registration.origin:
        raise PermanentError(
            "origin_unknown",
            "The image was found in storage when the ledger was rebuilt, and its origin is not known",
            remedy="Send a full message, with asset.origin; what is stored of the image stays as it is until then",
            stage=Stage.ORIGINAL,
        )
    return customer.origin(registration.origin, portal_bucket=policy.origin_bucket, own_buckets=policy.own_buckets)
