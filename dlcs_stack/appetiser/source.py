"""Opening a source: the format by its bytes, limits before decoding, decoding with faults reported in one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jp2 import Codestream

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names; PPM is the whole family of PBM, PGM and PPM.
FORMATS: Final = ("JPEG", "TIFF", "PNG", "GIF", "WEBP", "BMP", "PPM", "JPEG2000")

# What is often found under an image's name.
_LIKENESSES: Final = (
    (b"%PDF", "a PDF"),
    (b"<", "HTML or XML"),
    (b"{", "JSON"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 file whose header cannot be used"),
    (b"\xff\xd8", "a JPEG whose header is damaged"),
    (b"\x89PNG", "a PNG whose header is damaged"),
    (b"II*\x00", "a TIFF of a kind that is not supported"),
    (b"MM\x00*", "a TIFF of a kind that is not supported"),
)


def open_source(path: Path, max_pixels: int) -> Image.Image:
    """Open an image without decoding it; raise `ConversionError` if it is none, or larger than `max_pixels`."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ConversionError(f"The source is {_likeness(path)}.") from error
    except Exception as error:
        raise _damaged(error) from error
    check_pixels(image.width, image.height, max_pixels)
    return image


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `ConversionError` if an image has more pixels than allowed."""
    if width * height > max_pixels:
        raise ConversionError(
            f"The source has {width} x {height} = {width * height} pixels, more than the limit of {max_pixels}."
        )


def decode(image: Image.Image, *, upright: bool = True) -> None:
    """Decode the first frame and turn it upright (EXIF or XMP orientation, the TIFF tag); raise `ConversionError`."""
    from PIL import ImageOps

    try:
        image.load()
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:
        raise _damaged(error) from error


def decode_jp2(path: Path, codestream: Codestream, reduction: int, max_pixels: int) -> Image.Image:
    """Decode a JP2 at 1/2^`reduction` of its size, each edge rounded up; raise `ConversionError`."""
    with open_source(path, max_pixels) as image:
        if not reduction or not codestream.at_origin:
            decode(image)
            return image
        # Pillow rounds the reduced size where OpenJPEG takes the ceiling, and then finds the data broken. A size that
        # is a multiple of the step is rounded as OpenJPEG does.
        step = 1 << reduction
        image._size = (-(-image.width // step) * step, -(-image.height // step) * step)  # noqa: SLF001 (no public way)
        image.reduce = reduction  # type: ignore[method-assign,assignment]  # a property of the JPEG 2000 plugin
        try:
            image.load()
        except (OSError, ValueError):
            # A tile or component with fewer levels than the main header says: rare, its memory is not reckoned with.
            return decode_jp2(path, codestream, 0, max_pixels)
    return image


def reduction_for(codestream: Codestream, width: int, height: int) -> int:
    """Return the strongest reduction of a codestream that still has `width` x `height` pixels."""
    reduction = 0
    while (
        reduction < codestream.levels
        and codestream.width >> (reduction + 1) >= width
        and codestream.height >> (reduction + 1) >= height
    ):
        reduction += 1
    return reduction


def _likeness(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "empty"
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    likeness = next((name for magic, name in _LIKENESSES if start.startswith(magic)), "of an unknown kind")
    return f"not an image in a format that is read here ({', '.join(FORMATS)}): it is {likeness}"


def _damaged(error: Exception) -> ConversionError:
    # Pillow's decoders raise what they stumble over: OSError, SyntaxError, ValueError, struct.error, KeyError...
    if isinstance(error, ConversionError):
        return error
    if isinstance(error, MemoryError):
        return ConversionError("There is not enough memory to decode the source.")
    if isinstance(error, OSError) and error.errno is not None:
        return ConversionError(f"The source could not be read: {os.strerror(error.errno)} ({_errno_name(error)}).")
    reason = str(error).rstrip(".") or type(error).__name__
    return ConversionError(f"The source is truncated or damaged: {reason}.")


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")
