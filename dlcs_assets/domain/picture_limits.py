"""How much a picture may ask for, judged by what its file says before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dlcs_assets.domain.errors import PermanentError

# Decoded bytes that one stored byte can stand for at most, where a compression has such a bound.
DEFLATE_BOUND: Final = 1032
LZW_BOUND: Final = 2600
PACKBITS_BOUND: Final = 64
# Pixels that one stored byte can stand for: a bit for each block of 64 in a JPEG with Huffman codes. The others have no
# bound, or one far beyond any page; of a blank one of 100 megapixels as a JP2 in tiles, a byte stands for 30,000.
JPEG_PIXELS_PER_BYTE: Final = 512
ANY_PIXELS_PER_BYTE: Final = 65_536
# Below that many pixels a file that is too small is simply cut off, and costs little.
_EXACT_FROM: Final = 2**20
_ANY_FROM: Final = 2**24
_CUT_OFF: Final = 2  # what has half its bytes was cut off, and its decoder says where
_MEGABYTE: Final = 10**6


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """The largest picture that is read.

    `frames` are pages or frames, `parts` its strips or tiles, and packets of a JP2. `memory_bytes` is what may be held
    while it is decoded, `seconds` what it may take of the processor, and one more for each megapixel: a page of 24
    takes one in all here, and slow machines take several times as long.
    """

    pixels: int = 500_000_000
    frames: int = 10_000
    parts: int = 1_000_000
    components: int = 64
    memory_bytes: int = 2**31
    seconds: float = 10


@dataclass(frozen=True, slots=True)
class Demand:
    """What a file says that it holds, and the memory that its decoding takes besides a fixed amount.

    `pixels_per_byte`: how many pixels a byte of it can stand for; `is_exact`: that no file of its kind has more.
    """

    width: int
    height: int
    components: int = 1
    frames: int = 1
    parts: int = 1
    memory_bytes: int = 0
    pixels_per_byte: float = ANY_PIXELS_PER_BYTE
    is_exact: bool = False

    @property
    def pixels(self) -> int:
        """How many pixels it says to have."""
        return self.width * self.height


def require_modest(demand: Demand, file_bytes: int, limits: PictureLimits) -> None:
    """Refuse what asks for too much.

    Raises PermanentError `too_many_pixels`, `too_many_parts`, `too_few_bytes` or `too_much_memory`.
    """
    size = f"{demand.width} x {demand.height} pixels"
    if demand.pixels > limits.pixels:
        raise PermanentError(
            "too_many_pixels",
            f"The image has {size}, more than {limits.pixels}",
            remedy="Put a smaller one at its origin, or raise DLCS_MAX_PIXELS.",
        )
    for count, what, limit, setting in (
        (demand.frames, "pages or frames", limits.frames, "DLCS_MAX_FRAMES"),
        (demand.components, "components a pixel", limits.components, "DLCS_MAX_COMPONENTS"),
        (demand.parts, "strips, tiles or packets", limits.parts, "DLCS_MAX_PARTS"),
    ):
        if count > limit:
            raise too_many_parts(f"{count} {what}, more than {limit}", setting)
    least, times = (_EXACT_FROM, _CUT_OFF) if demand.is_exact else (_ANY_FROM, 1)
    if demand.pixels > least and demand.pixels > times * file_bytes * demand.pixels_per_byte:
        raise PermanentError(
            "too_few_bytes",
            f"The file has {file_bytes} bytes, far too few for the {size} that its header states",
            remedy="See whether it opens elsewhere: it was cut off, or is made to exhaust memory. Put a whole one at "
            "its origin.",
        )
    require_memory(demand.memory_bytes, limits.memory_bytes)


def require_memory(needed_bytes: int, memory_bytes: int) -> None:
    """Raise PermanentError `too_much_memory` if there is less than is needed."""
    if needed_bytes > memory_bytes:
        raise too_much_memory(
            f"Reading the image takes {-(-needed_bytes // _MEGABYTE)} MB of memory, and {memory_bytes // _MEGABYTE} MB "
            "are there for it"
        )


def too_many_parts(what: str, setting: str | None = None) -> PermanentError:
    """Return the error of a picture that consists of too many parts of some kind."""
    raise_it = f"; or raise {setting}" if setting else ""
    return PermanentError(
        "too_many_parts",
        f"The image has {what}",
        remedy=f"Save it again from an image editor, and put that at its origin{raise_it}.",
    )


def too_much_memory(cause: str) -> PermanentError:
    """Return the error of a picture whose decoding takes more memory than there is."""
    return PermanentError(
        "too_much_memory",
        cause,
        remedy="Save it as a TIFF in small strips or tiles, or a smaller one, and put that at its origin; or raise "
        "DLCS_DECODER_MEMORY.",
    )
