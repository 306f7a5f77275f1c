"""The info.json documents of the IIIF Image API, versions 2 and 3, and the content types they go by."""

from __future__ import annotations

from typing import Any, Final

from dlcs_stack.image_server.geometry import Limits
from dlcs_stack.image_server.parameters import MEDIA_TYPES, QUALITIES, Version
from dlcs_stack.image_server.reading import Description

CONTEXTS: Final[dict[Version, str]] = {
    2: "http://iiif.io/api/image/2/context.json",
    3: "http://iiif.io/api/image/3/context.json",
}
PROFILES: Final[dict[Version, str]] = {
    2: "http://iiif.io/api/image/2/level2.json",
    3: "http://iiif.io/api/image/3/level2.json",
}
_PROTOCOL = "http://iiif.io/api/image"
_TILE_EDGE = 512
_LEVEL_2_FORMATS: Final = frozenset({"jpg", "png"})
_BEYOND_LEVEL_2: Final = ["canonicalLinkHeader", "mirroring", "profileLinkHeader", "rotationArbitrary"]


def info_document(version: Version, base: str, description: Description, limits: Limits) -> dict[str, Any]:
    """Return the info.json of the picture whose image service is at `base`, an absolute URL."""
    factors = scale_factors(description)
    common = {
        "protocol": _PROTOCOL,
        "width": description.width,
        "height": description.height,
        "sizes": _sizes(description, factors, limits),
        "tiles": [{"width": _TILE_EDGE, "height": _TILE_EDGE, "scaleFactors": factors}],
    }
    area = {"maxArea": limits.max_pixels} if limits.max_pixels else {}
    formats = [name for name in MEDIA_TYPES if version == 2 or name not in _LEVEL_2_FORMATS]  # noqa: PLR2004 (version)
    qualities = [quality for quality in QUALITIES if quality != "default"]
    features = list(_BEYOND_LEVEL_2)
    enlarges = limits.max_scale == 0 or limits.max_scale > 1
    if version == 2:  # noqa: PLR2004 (the API's version)
        features += ["regionSquare", *(["sizeAboveFull"] if enlarges else [])]
        profile = [PROFILES[2], {"formats": formats, "qualities": qualities, "supports": sorted(features), **area}]
        return {"@context": CONTEXTS[2], "@id": base, **common, "profile": profile}
    features += ["sizeUpscaling"] if enlarges else []
    return {
        "@context": CONTEXTS[3],
        "id": base,
        "type": "ImageService3",
        **common,
        **area,
        "profile": "level2",
        "extraFormats": formats,
        "extraQualities": qualities,
        "extraFeatures": sorted(features),
    }


def info_media_type(version: Version, accept: str) -> str:
    """Return the content type of info.json for an Accept header: JSON-LD where it is asked for, else JSON."""
    if "application/ld+json" not in accept.lower():
        return "application/json"
    return f'application/ld+json;profile="{CONTEXTS[3]}"' if version == 3 else "application/ld+json"  # noqa: PLR2004 (version)


def scale_factors(description: Description) -> list[int]:
    """Return the powers of two, from 1, until the picture fits in a tile; of a JP2 those that the file holds."""
    longest = max(description.width, description.height)
    factors = [1]
    while longest > _TILE_EDGE * factors[-1] and (not description.native_levels or len(factors) <= description.levels):
        factors.append(factors[-1] * 2)
    return factors


def _sizes(description: Description, factors: list[int], limits: Limits) -> list[dict[str, int]]:
    sizes = ((-(-description.width // factor), -(-description.height // factor)) for factor in reversed(factors))
    return [
        {"width": width, "height": height}
        for width, height in sizes
        if not limits.max_pixels or width * height <= limits.max_pixels
    ]
