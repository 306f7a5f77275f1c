"""What a CDN may have cached of an image, as the DLCS's delivery services name it."""

from __future__ import annotations

from collections.abc import Collection

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel

_VERSIONS = ("", "v2/", "v3/")
_BY_CHANNEL = {
    Channel.IIIF_IMG: tuple(
        f"/{service}/{version}{{}}/*" for service in ("iiif-img", "thumbs") for version in _VERSIONS
    ),
    Channel.THUMBS: tuple(f"/thumbs/{version}{{}}/*" for version in _VERSIONS),
    Channel.FILE: ("/file/{}",),
    Channel.IIIF_AV: ("/iiif-av/{}/*",),
}
_ALWAYS = tuple(f"/iiif-manifest/{version}{{}}" for version in _VERSIONS)


def paths_to_invalidate(
    asset_id: AssetId, channels: Collection[Channel], customer_name: str | None = None
) -> tuple[str, ...]:
    """Return the paths of an image's public addresses, by the customer's number and by its name if it is known."""
    shapes = [shape for channel, those in _BY_CHANNEL.items() if channel in channels for shape in those]
    names = [str(asset_id)]
    if customer_name:
        names.append(f"{customer_name}/{asset_id.space}/{asset_id.asset}")
    return tuple(dict.fromkeys(shape.format(name) for name in names for shape in (*shapes, *_ALWAYS)))
