"""Writing the JP2: Kakadu's `kdu_compress` where there is one, otherwise OpenJPEG through Pillow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.models import Optimisation
from dlcs_stack.pictures.reading import reduced_jp2

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

_LOSSLESS_PIXELS: Final = 2**16
_SLIVER: Final = 64
_GLANCE: Final = 6
_NEAR: Final = 9
_SAME_COLOUR: Final = 3

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
    """Write at the rate or quality that is asked for; without loss where that is small or goes wrong.

    OpenJPEG's rate control leaves out what decides about the colour of a tile that is nearly empty: the headers have
    used up its bytes, or nothing is left to choose from. Flat pictures came out up to 248 levels off.
    """
    if image.width * image.height > _LOSSLESS_PIXELS:
        _save(image, target, {**_quality(optimisation, len(image.getbands())), "irreversible": True})
        if _shows(target, image):
            return
    _save(image, target, {"irreversible": False})


def _quality(optimisation: Optimisation, bands: int) -> dict[str, object]:
    bits = BITS_PER_PIXEL.get(optimisation)
    if bits is None:
        return {"quality_mode": "dB", "quality_layers": [MAX_DECIBEL]}
    ratio = 8 * bands / bits
    layers = LAYERS.get(optimisation, 1)
    return {"quality_mode": "rates", "quality_layers": [ratio * 2**layer for layer in reversed(range(layers))]}


def _save(image: Image.Image, target: Path, options: dict[str, object]) -> None:
    try:
        image.save(
            target,
            "JPEG2000",
            **options,
            num_resolutions=levels_for(*image.size) + 1,
            # Without precincts: OpenJPEG halves them at each level, down to 4 x 4. The tiles do their work.
            tile_size=(_tile_edge(image.width), _tile_edge(image.height)),
            progression="RPCL",
            plt=True,
            mct=int(image.mode == "RGB"),
        )
    except (OSError, ValueError) as error:
        raise ConversionError(f"The JP2 could not be written: {error}.") from error


def _tile_edge(edge: int) -> int:
    """Return the edge of the tiles: a last one that is a sliver, too small for its share of bytes, is shared out."""
    whole, rest = divmod(edge, TILE)
    return TILE if not whole or not 0 < rest < _SLIVER else -(-edge // whole)


def _shows(jp2: Path, image: Image.Image) -> bool:
    """Return whether a JP2 has the picture's colours where that has no detail.

    Compared at 1/64 of the size. Near detail, a wavelet's low frequencies and a mean may differ by any amount.
    """
    from PIL import ImageChops
    from PIL.Image import Resampling

    reduction = min(_GLANCE, levels_for(*image.size))
    few = image.resize((-(-image.width >> reduction), -(-image.height >> reduction)), Resampling.NEAREST)
    if _flat(few).getbbox() is None:  # as of most pages: single pixels say so, and cost nothing
        return True
    wanted, shown = image.reduce(1 << reduction), reduced_jp2(jp2, reduction)
    if shown is None:
        return False
    off = ImageChops.darker(ImageChops.difference(shown, wanted), _flat(wanted))
    return not any(any(band.histogram()[_SAME_COLOUR + 1 :]) for band in off.split())


def _flat(image: Image.Image) -> Image.Image:
    """Return where a picture has no detail: 255 in a band whose pixels are alike for some distance, 0 elsewhere."""
    from PIL import ImageChops, ImageFilter

    extremes = (image.filter(ImageFilter.MaxFilter(_NEAR)), image.filter(ImageFilter.MinFilter(_NEAR)))
    return ImageChops.difference(*extremes).point(lambda contrast: 255 if contrast <= _SAME_COLOUR else 0)


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
