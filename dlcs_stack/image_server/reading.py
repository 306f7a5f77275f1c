"""Sources, as `dlcs_stack.pictures` reads them, with the server's limits and statuses. Runs in a worker process."""

from __future__ import annotations

from pathlib import Path

from PIL import Image  # noqa: TID253 (only workers load this module)

from dlcs_stack.image_server.refusal import RefusalError, unreadable
from dlcs_stack.limits import limited
from dlcs_stack.pictures.errors import UnreadableError
from dlcs_stack.pictures.reading import Description, Raster, require_bytes
from dlcs_stack.pictures.reading import decode as decode_picture
from dlcs_stack.pictures.reading import describe as describe_picture

__all__ = ["Description", "Raster", "decode", "describe", "prepare"]


def describe(path: str, max_pixels: int) -> Description:
    """Read the headers of the file at `path`. No picture data is decoded.

    Raises `RefusalError`: 501 where it is no picture, 403 where it has more than `max_pixels` (0: any number is fine).
    """
    try:
        with limited(0, 0):
            description = describe_picture(Path(path))
        if max_pixels and description.width * description.height > max_pixels:
            size = f"{description.width} x {description.height}"
            raise RefusalError(403, f"The source is {size}, more than the {max_pixels} pixels allowed.")
        require_bytes(Path(path), description)
    except UnreadableError as error:
        raise unreadable(f"it {error}.") from error
    return description


def decode(path: str, description: Description, reduction: int) -> Raster:
    """Decode the file at 1/2^`reduction` of its size. Raises `RefusalError` with 501 where its data is broken."""
    try:
        return decode_picture(Path(path), description, reduction)
    except UnreadableError as error:
        raise unreadable(f"it {error}.") from error


def prepare() -> None:
    """Set Pillow up for a process that does nothing but this: plugins loaded, and the number of pixels left to us.

    Pillow's own guard against pixel bombs would refuse what the configuration of the server allows.
    """
    Image.init()
    Image.MAX_IMAGE_PIXELS = None
