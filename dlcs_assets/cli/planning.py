"""What would be done for an image, and why, in words: the rules of the domain, without any network."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.iiif_size import Size
from dlcs_assets.domain.image_servers import SourceAccess, misread_originals, require_read_right, require_readable
from dlcs_assets.domain.ingest_plan import Conversion, ImageServerSource, IngestPlan
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.ingest_spec import IngestPolicy, KnownFormat, ingest_spec, needs_media_type
from dlcs_assets.domain.media_type import media_type_for_extension
from dlcs_assets.domain.origin import Origin, OriginStrategy
from dlcs_assets.domain.quota import stored_kinds
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import STAGES, Outcome
from dlcs_assets.domain.storage_keys import (
    jp2_key,
    original_key,
    sizes_key,
    thumbnail_key,
    transient_key,
)
from dlcs_assets.domain.thumbnails import UNRESTRICTED, ThumbnailMaker, plan_thumbnails, thumbnail_set
from dlcs_assets.settings import Settings

Lines = list[tuple[str, str]]
_ANY_IMAGE: Final = "image/*"


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier results say of an original: None is not known."""

    media_type: str | None = None
    size: Size | None = None


def explain(  # noqa: PLR0917 (what decides about an image, and nothing else)
    asset_id: AssetId,
    registration: Registration,
    policy: IngestPolicy,
    settings: Settings,
    known: Known,
    refusal: Callable[[Collection[ObjectKind]], str | None] = lambda _: None,
) -> Lines:
    """Return the plan as (what, how) lines. Raises `PermanentError` or `MessageRejectedError` where there can be none.

    `refusal` returns why the customer's quota has no room for the kinds of objects that will be stored.
    """
    format_, assumed = _format(registration, known)
    spec = ingest_spec(asset_id, registration, policy, format_)
    plan, origin = spec.plan, spec.origin
    if not settings.thumbnails_of_jp2:
        require_readable(plan, known.media_type)
    if known.media_type and settings.thumbnails_by is ThumbnailMaker.IMAGE_SERVER:
        require_read_right(settings.image_server_kind, plan, known.media_type)
    refused = refusal(stored_kinds(plan, STAGES))
    lines = [
        ("origin", shown_url(origin.url)),
        ("", _strategy(origin)),
        *([("", origin.note)] if origin.note else []),
        ("channels", ", ".join(map(str, spec.channels))),
        *([("", assumed)] if assumed else []),
        ("row", plan.row),
        ("why", plan.why),
        ("stages", _stages(plan)),
        ("fetch", _fetch(plan, settings)),
        ("Appetiser", _appetiser(plan, settings)),
        *_stored(asset_id, plan, settings),
        *([("quota", refused)] if refused else []),
        ("image server", _source(asset_id, plan, origin, settings)),
        *_misread(plan, format_, registration, settings),
    ]
    if not plan.thumbnails:
        return [*lines, ("thumbnails", "none; what there is from before is removed")]
    return lines + _thumbnails(asset_id, registration, spec.sizes, settings, known.size)


def _format(registration: Registration, known: Known) -> tuple[KnownFormat, str | None]:
    """Return what is known of the format, and how it was assumed where the channels depend on that."""
    if known.media_type:
        return KnownFormat(known.media_type, known.media_type == "image/jp2"), None
    if registration.declared_type:
        return KnownFormat(), None
    name = PurePosixPath(urlsplit(registration.origin).path).suffix
    guessed = media_type_for_extension(name) if name else None
    assumed = f"assuming {guessed} by the name" if guessed else "assuming an image"
    note = f"{assumed}: the bytes decide when it is ingested" if needs_media_type(registration) else None
    return KnownFormat(guessed or _ANY_IMAGE), note


def _strategy(origin: Origin) -> str:
    reach = ""
    if origin.strategy is OriginStrategy.S3_AMBIENT:
        reach = ", optimised: the image server reads it where it is" if origin.optimised else ", not optimised"
    rule = f", by the customer's rule '{origin.rule.id}'" if origin.rule else ""
    return f"{origin.strategy.summary} (strategy {origin.strategy}){reach}{rule}"


def _misread(plan: IngestPlan, format_: KnownFormat, registration: Registration, settings: Settings) -> Lines:
    """Return which originals of the format, as far as that is known, will be refused when they are ingested."""
    if settings.thumbnails_by is ThumbnailMaker.APPETISER:
        return []
    named = registration.declared_type or format_.media_type
    media_type = named if named != _ANY_IMAGE else None
    found = misread_originals(settings.image_server_kind, plan, media_type)
    return [("" if number else "refused if", text) for number, text in enumerate(found)]


def _stages(plan: IngestPlan) -> str:
    thumbnails = Outcome.MADE if plan.thumbnails else Outcome.NOT_REQUIRED
    outcomes = zip(STAGES, (plan.original_outcome, plan.jp2_outcome, thumbnails), strict=True)
    return "; ".join(f"{stage}: {outcome}" for stage, outcome in outcomes)


def _fetch(plan: IngestPlan, settings: Settings) -> str:
    if plan.fetch:
        return "the original is fetched"
    if plan.source is ImageServerSource.ORIGIN and settings.thumbnail_sources is SourceAccess.DISK:
        who = "Appetiser" if settings.thumbnails_by is ThumbnailMaker.APPETISER else "the image server"
        return f"the original is fetched, to the disk that {who} shares: it sees nothing else"
    return "nothing is fetched"


def _appetiser(plan: IngestPlan, settings: Settings) -> str:
    thumbnails = plan.thumbnails and settings.thumbnails_by is ThumbnailMaker.APPETISER
    if plan.conversion is not Conversion.APPETISER:
        return "called for the thumbnails" if thumbnails else "not called"
    called = "called, and again for the thumbnails" if thumbnails else "called"
    if not plan.depends_on_format:
        return f"{called}; the JP2 is {plan.jp2_outcome}"
    return f"{called}, the JP2 is {plan.jp2_outcome}; should the original be a JP2 already, it is copied"


def _stored(asset_id: AssetId, plan: IngestPlan, settings: Settings) -> Lines:
    keys = [
        (jp2_key(asset_id), "the JP2", plan.conversion is not Conversion.NONE),
        (original_key(asset_id), "the original", plan.keep_original),
        (
            transient_key(asset_id, "{request}"),
            "the original, deleted when the thumbnails are stored",
            plan.transient and settings.thumbnail_sources is SourceAccess.S3,
        ),
    ]
    stored = [f"{_uri(settings.storage_bucket, key, settings)}  {what}" for key, what, wanted in keys if wanted]
    if plan.thumbnails:
        stored.append(f"{_uri(settings.thumbs_bucket, sizes_key(asset_id), settings)}  the sizes of the thumbnails")
    return [("" if number else "stored", text) for number, text in enumerate(stored or ["nothing"])]


def _source(asset_id: AssetId, plan: IngestPlan, origin: Origin, settings: Settings) -> str:
    if settings.thumbnails_by is ThumbnailMaker.APPETISER:
        return "not asked"
    if settings.image_server_sources is SourceAccess.DISK and plan.source is not ImageServerSource.NONE:
        what = "JP2" if plan.source is ImageServerSource.JP2 else "original"
        return f"reads the {what} in the scratch folder, which it shares"
    match plan.source:
        case ImageServerSource.NONE:
            return "reads nothing"
        case ImageServerSource.ORIGIN:
            assert origin.location is not None
            return f"reads {origin.location.uri(settings.s3_uri_region)}"
        case ImageServerSource.JP2:
            key = jp2_key(asset_id)
        case ImageServerSource.ORIGINAL:
            key = original_key(asset_id)
        case ImageServerSource.TRANSIENT:
            key = transient_key(asset_id, "{request}")
    return f"reads {_uri(settings.storage_bucket, key, settings)}"


def _thumbnails(
    asset_id: AssetId,
    registration: Registration,
    sizes: tuple[str, ...],
    settings: Settings,
    size: Size | None,
) -> Lines:
    access = _access(registration, settings)
    if size is None:
        return [("thumbnails", f"{'  '.join(sizes)}  (in pixels as soon as the image's size is known)"), ("", access)]
    planned = plan_thumbnails(sizes, size)
    chosen = thumbnail_set(
        [ask.expected for ask in planned.asks],
        max_unauthorised=registration.max_unauthorised,
        roles=registration.roles,
        engine_open_thumbnails=settings.engine_open_thumbnails,
    )
    made = [f"of an image of {size}; {access}"]
    for ask in planned.asks:
        key = thumbnail_key(asset_id, ask.expected.longest, chosen.is_open(ask.expected))
        made.append(f"{ask.expected!s:<10} {ask.parameter:<12} {_uri(settings.thumbs_bucket, key, settings)}")
    left_out = [("left out", f"{each.parameter}: {each.why}") for each in planned.left_out]
    return [("" if number else "thumbnails", text) for number, text in enumerate(made)] + left_out


def _access(registration: Registration, settings: Settings) -> str:
    limit = registration.max_unauthorised
    if limit != UNRESTRICTED:
        return f"open to everyone up to {limit} pixels of the longest edge, larger ones restricted (maxUnauthorised)"
    if not registration.roles:
        return "all open to everyone"
    if settings.engine_open_thumbnails:
        return "all open in spite of the image's roles (DLCS_ENGINE_OPEN_THUMBNAILS)"
    return "all restricted: the image has roles, and no maxUnauthorised that would open some"


def _uri(bucket: str, key: str, settings: Settings) -> str:
    return S3Location(bucket, key).uri(settings.s3_uri_region)
