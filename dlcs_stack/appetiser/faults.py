"""What Appetiser itself does badly, done as badly: for tests of clients that have to live with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser import sizes
from dlcs_stack.appetiser.errors import ConversionError

if TYPE_CHECKING:
    from PIL import Image

_BOX: Final = re.compile(r"!(?P<width>[0-9]+),(?P<height>[0-9]+)")
ENCODED_MODES: Final = frozenset({"L", "1", "I;16B", "RGB", "RGBA"})
_JPEG_MODES: Final = frozenset({"1", "L", "RGB", "RGBX", "CMYK", "YCbCr"})
_NOTHING: Final = re.compile("0+,0*|,0+")


def refuses_size(size: str) -> bool:
    """Return whether a size that a policy may hold is refused, and with it the request."""
    return size.startswith("^!")


def drops_size(size: object) -> bool:
    """Return whether a size is accepted, and nothing comes of it."""
    return isinstance(size, str) and _NOTHING.fullmatch(size) is not None


def thumbnail_size(size: str, width: int, height: int) -> tuple[int, int] | None:
    """Return the pixels of a thumbnail, or None where the size is dropped; of a box, only one edge counts."""
    box = _BOX.fullmatch(size)
    right = sizes.thumbnail_size(size, width, height)
    if box is None or right is None:
        return right
    one_edge = f"^{box['width']}," if width >= height else f"^,{box['height']}"
    return sizes.thumbnail_size(one_edge, width, height)


def is_jp2(path: Path) -> bool:
    """Return whether a file is a JP2 by its name alone, which is then passed on as it is."""
    return path.suffix == ".jp2"


def opened(path: Path) -> Image.Image:
    """Open a file with Pillow, as Appetiser does."""
    from PIL import Image

    try:
        return Image.open(path)
    except OSError as error:
        raise ConversionError(f"cannot identify image file '{path}'") from error


def as_it_is(image: Image.Image) -> Image.Image:
    """Return what thumbnails are made of where no JP2 is: not turned, colours as stored. Raises `ConversionError`."""
    if image.mode not in _JPEG_MODES:
        raise ConversionError(f"cannot write mode {image.mode} as JPEG")
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ConversionError(str(error)) from error
    image.info = {}
    return image
