"""Opening a source: limits before decoding, faults reported in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.pictures.errors import UnreadableError
from dlcs_stack.pictures.reading import Description, describe, require_bytes

# The worst of it, measured: encoding in tiles takes about 18 bytes for each pixel, decoding and colours less.
BYTES_PER_PIXEL: Final = 20


def describe_source(path: Path, max_pixels: int) -> Description:
    """Read an image's headers; raise `ConversionError` if it is none, or larger than `max_pixels`."""
    with as_conversion_errors():
        description = describe(path)
    check_pixels(description.width, description.height, max_pixels)
    with as_conversion_errors():
        require_bytes(path, description)
    return description


def check_memory(pixels: int, pixels_that_fit: int) -> None:
    """Raise `ConversionError` if this machine has no memory for so many pixels at a time."""
    if pixels > pixels_that_fit:
        raise ConversionError(
            f"The conversion would hold {pixels} pixels in memory, and this machine has memory for {pixels_that_fit}."
        )


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `ConversionError` if an image has more pixels than allowed."""
    if width * height > max_pixels:
        raise ConversionError(
            f"The source has {width} x {height} = {width * height} pixels, more than the limit of {max_pixels}."
        )


@contextmanager
def as_conversion_errors() -> Iterator[None]:
    """Raise `ConversionError`, in a whole sentence, for what `dlcs_stack.pictures` cannot read."""
    try:
        yield
    except UnreadableError as error:
        raise ConversionError(f"The source {error}.") from error
