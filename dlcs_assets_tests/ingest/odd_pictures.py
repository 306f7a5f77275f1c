"""Pictures that are small or turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcs_testing.pictures import drawing, encoded

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
QUARTER_TURN = 6
# id, width and height
SMALL = [("2/1/of-one-pixel", 1, 1), ("2/1/below-every-size", 90, 90), ("2/1/narrow", 30, 300)]


def turned_jpeg() -> bytes:
    """Return a picture that is stored lying, 480 x 360, and is to be shown standing."""
    from PIL.Image import Exif

    exif = Exif()
    exif[ORIENTATION] = QUARTER_TURN
    return encoded(drawing(480, 360), "JPEG", exif=exif)


def standing() -> Image:
    from PIL.Image import Transpose

    return drawing(480, 360).transpose(Transpose.ROTATE_270)
