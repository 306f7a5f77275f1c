"""What a customer may have stored at most, and whether one thing more fits in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.errors import MessageRejectedError, PermanentError
from dlcs_assets.domain.ingest_plan import Conversion, IngestPlan
from dlcs_assets.domain.results import ObjectKind
from dlcs_assets.domain.stages import Stage

# What an image is taken to need at least, before it is fetched; the DLCS has the same number.
MIN_BYTES: Final = 100
# What counts: thumbnails and sizes never do, nor what is stored for a while only.
SOURCE_KINDS: Final = (ObjectKind.JP2, ObjectKind.ORIGINAL)


@dataclass(frozen=True, slots=True)
class Taken:
    """How much of its quota a customer has taken, in bytes: stored, and reserved by images in progress."""

    stored: int
    reserved: int = 0


def stored_kinds(plan: IngestPlan, stages: Collection[Stage]) -> tuple[ObjectKind, ...]:
    """Return which of the kinds that count these stages will store; none where no quota has to be asked."""
    made = {
        ObjectKind.JP2: plan.conversion is not Conversion.NONE and Stage.JP2 in stages,
        ObjectKind.ORIGINAL: plan.keep_original and Stage.ORIGINAL in stages,
    }
    return tuple(kind for kind in SOURCE_KINDS if made[kind])


def require_room(asset_id: AssetId, limit: int, taken: Taken, *, new: int, replaced: int) -> int:
    """Return by how many bytes the image grows if `new` ones take the place of `replaced` ones; never less than 0.

    `taken.reserved` is what other images have reserved. Raises `PermanentError`, code `quota_exceeded`, if that is
    more than the limit.
    """
    if taken.stored - replaced + new + taken.reserved > limit:
        others = f", {taken.reserved:,} reserved by images in progress" if taken.reserved else ""
        instead = f", in place of {replaced:,}" if replaced else ""
        raise PermanentError(
            "quota_exceeded",
            f"StoragePolicy size limit exceeded: customer {asset_id.customer} may have {limit:,} bytes stored and has "
            f"{taken.stored:,}{others}; this image needs {new:,}{instead}",
            remedy=f"Raise quota.bytes of customer {asset_id.customer} in the customers file (or the storage policy in "
            "the DLCS), or delete some of its images; then: dlcs retry --reason quota_exceeded",
        )
    return max(0, new - replaced)


def require_room_for_image(asset_id: AssetId, limit: int, registered: int) -> None:
    """Raise `MessageRejectedError`, code `quota_images_exceeded`, if a new image is one more than the limit."""
    if registered >= limit:
        raise MessageRejectedError(
            "quota_images_exceeded",
            f"{asset_id}: customer {asset_id.customer} may have {limit:,} images and has {registered:,}",
            remedy=f"Raise quota.images of customer {asset_id.customer} in the customers file, or delete some of its "
            "images; then: dlcs rejected --requeue",
        )
