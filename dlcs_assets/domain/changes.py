"""Which change of a registration makes what is stored wrong."""

from __future__ import annotations

from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.thumbnails import UNRESTRICTED


def needs_ingest(before: Registration | None, after: Registration) -> bool:
    """Tell whether an image has to be ingested again: a new one, or one with another origin, channels or limit.

    As in the DLCS, and beyond it: with roles and no limit all thumbnails are restricted, so that gaining the first
    role or losing the last one moves them; and where the defaults decide on the channels, the media type does.
    """
    if before is None:
        return True
    return (
        before.origin != after.origin
        or before.max_unauthorised != after.max_unauthorised
        or _channels(before) != _channels(after)
        or (after.channels is None and before.media_type != after.media_type)
        or (after.max_unauthorised == UNRESTRICTED and bool(before.roles) != bool(after.roles))
    )


def _channels(registration: Registration) -> frozenset[object] | None:
    return None if registration.channels is None else frozenset(registration.channels)
