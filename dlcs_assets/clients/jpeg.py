"""Whether bytes are a whole JPEG, and its size. For bodies that came with status 200 and may be anything."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from dlcs_assets.domain.iiif_size import Size

_START: Final = b"\xff\xd8\xff"
_END: Final = b"\xff\xd9"
_SCAN: Final = b"\xff\xda"
_SCANS: Final = 500  # each of them goes through the whole picture


class NotAJpegError(ValueError):
    """Bytes that are no JPEG, or not a whole one. The text says what is wrong."""


def measure_jpeg(data: bytes) -> Size:
    """Return the size that the header states. Raises NotAJpegError unless there is a header and an end."""
    from PIL import JpegImagePlugin

    if not data:
        raise NotAJpegError("is empty")
    if not data.startswith(_START):
        raise NotAJpegError("does not begin as a JPEG")
    try:
        # The plugin itself rather than Image.open: no other decoder, and no warning about large pictures.
        with JpegImagePlugin.JpegImageFile(BytesIO(data)) as image:
            size = Size(*image.size)
    except (OSError, SyntaxError, ValueError) as error:
        raise NotAJpegError("has no readable JPEG header") from error
    if data.count(_SCAN) > _SCANS:
        raise NotAJpegError(f"has more than {_SCANS} scans")
    if not data.endswith(_END):
        raise NotAJpegError("breaks off before the end of the JPEG")
    return size


def decode_jpeg(data: bytes) -> None:
    """Decode every pixel, for nothing but the proof. Measure first: this takes memory for the pixels."""
    from PIL import JpegImagePlugin

    try:
        with JpegImagePlugin.JpegImageFile(BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise NotAJpegError("does not decode") from error
