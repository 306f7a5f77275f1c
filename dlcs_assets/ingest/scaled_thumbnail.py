"""A thumbnail that the image server does not make, scaled from a larger one of it."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Final

from dlcs_assets.clients.image_server import ThumbnailBytes
from dlcs_assets.domain.iiif_size import Size

_QUALITY: Final = 90


def scaled_thumbnail(thumbnail: ThumbnailBytes, size: Size) -> ThumbnailBytes:
    """Return a thumbnail at another size, as a JPEG of the same colours; itself if it has that size."""
    from PIL import Image

    if thumbnail.size == size:
        return thumbnail
    data = BytesIO()
    with Image.open(BytesIO(thumbnail.data), formats=["JPEG"]) as image:
        image.resize((size.width, size.height), Image.Resampling.LANCZOS).save(data, "JPEG", quality=_QUALITY)
    return replace(thumbnail, data=data.getvalue(), size=size)
