"""Writing the JP2: Kakadu's `kdu_compress` where there is one, otherwise OpenJPEG through Pillow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.models import Optimisation

if TYPE_CHECKING:
    from PIL import Image

TILE: Final = 1024
MAX_LEVELS: Final = 7

# Of all components together, as Kakadu counts. The profiles are Appetiser's.
BITS_PER_PIXEL: Final = {
    Optimisation.LOW: 0.5,
    Optimisation.MEDIUM: 2.0,
    Optimisation.MEDIUM_LAYERS: 2.0,
    Optimisation.HIGH: 4.0,
}
LAYERS: Final = {Optimisation.MEDIUM_LAYERS: 6}

# Kakadu's "no truncation" keeps noise below what an eye can tell. OpenJPEG's 50 dB gives 47.8 dB on manuscript pages
# at about half the bytes of its own lossy maximum (docs/decisions/0010-embedded-appetiser.md).
MAX_DECIBEL: Final = 50

_KDU_PRECINCTS: Final = "{256,256},{256,256},{256,256},{128,128},{128,128},{64,64},{64,64},{32,32},{16,16}"
_KDU_SPACE: Final = {"L": ("-no_palette",), "RGB": ("-jp2_space", "sRGB")}


def find_kakadu() -> Path | None:
    """Return the `kdu_compress` on the PATH, if there is one."""
    found = shutil.which("kdu_compress")
    return Path(found) if found else None


def encode(image: Image.Image, target: Path, optimisation: Optimisation, kakadu: Path | None) -> None:
    """Write an image of mode L or RGB as a JP2; `target` ends in .jp2. Raises `ConversionError`."""
    if kakadu:
        _encode_with_kakadu(image, target, optimisation, kakadu)
    else:
        _encode_with_openjpeg(image, target, optimisation)


def levels_for(width: int, height: int) -> int:
    """Return the decompositions that a tile of this image allows: the lowest keeps at least a pixel on each edge."""
    return min(MAX_LEVELS, min(width, height, TILE).bit_length() - 1)


def _encode_with_openjpeg(image: Image.Image, target: Path, optimisation: Optimisation) -> None:
    bits = BITS_PER_PIXEL.get(optimisation)
    if bits is None:
        quality: dict[str, object] = {"quality_mode": "dB", "quality_layers": [MAX_DECIBEL]}
    else:
        ratio = 8 * len(image.getbands()) / bits
        layers = LAYERS.get(optimisation, 1)
        quality = {
            "quality_mode": "rates",
            "quality_layers": [ratio * 2**layer for layer in reversed(range(layers))],
        }
    try:
        image.save(
            target,
            "JPEG2000",
            **quality,
            num_resolutions=levels_for(*image.size) + 1,
            # Without precincts: OpenJPEG halves them at each level, down to 4 x 4. The tiles do their work.
            tile_size=(TILE, TILE),
            progression="RPCL",
            plt=True,
            irreversible=True,
            mct=int(image.mode == "RGB"),
        )
    except (OSError, ValueError) as error:
        raise ConversionError(f"The JP2 could not be written: {error}.") from error


def _encode_with_kakadu(image: Image.Image, target: Path, optimisation: Optimisation, kakadu: Path) -> None:
    raw = target.with_suffix(".tif")
    image.save(raw, "TIFF", compression=None)
    bits = BITS_PER_PIXEL.get(optimisation)
    layers = LAYERS.get(optimisation)
    command = [
        str(kakadu),
        *("-i", str(raw), "-o", str(target)),
        *(f"Clevels={MAX_LEVELS}", "Cblk={64,64}", "Cuse_sop=yes"),
        *_KDU_SPACE[image.mode],
        *("ORGgen_plt=yes", "ORGtparts=R", "Corder=RPCL"),
        *("-rate", "-" if bits is None else f"{bits:g}"),
        f"Cprecincts={_KDU_PRECINCTS}",
        *((f"Clayers={layers}",) if layers else ()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 (no shell; paths of ours)
    raw.unlink()
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConversionError(f"kdu_compress ended with status {done.returncode}: {' '.join(said)[:500]}.")
