"""What the makers of thumbnails hand over, to be published."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlcs_assets.clients.image_server_answer import ThumbnailBytes
from dlcs_assets.domain.iiif_size import Size


@dataclass(frozen=True, slots=True)
class ThumbnailBatch:
    """The thumbnails of an image of `size`, the sizes left out with their reasons, and facts for the metadata."""

    size: Size
    made: list[ThumbnailBytes]
    left_out: list[str]
    facts: dict[str, object] = field(default_factory=dict)
