"""libvips: TIFFs strip by strip, at little memory, and good JPEGs that Pillow cannot open.

Only worker processes load it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_stack.pictures.colour import to_srgb
from dlcs_stack.pictures.errors import DamagedError, UnsupportedError
from dlcs_stack.pictures.tiff import Layout, Model, Tiff, layout_of

if TYPE_CHECKING:
    from PIL import Image

_STRIP_PIXELS: Final = 2**17
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# What it says of good JPEGs that its decoder doesn't read.
_UNSUPPORTED: Final = {
    "Unsupported JPEG data precision": "with more than 8 bits a sample",
    "Unsupported JPEG process": "that is neither baseline nor progressive",
    "Unsupported marker type 0xf7": "in JPEG-LS",
}
_FORMATS: Final = {1: "uchar", 2: "uchar", 4: "uchar", 8: "uchar", 16: "ushort", 32: "uint"}


@cache
def library() -> Any:
    """Return libvips, set up for a process that works on one picture at a time and trusts none of them."""
    import pyvips

    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    return pyvips


class Strips:
    """A picture that is decoded from the top, strip by strip. Errors in its data come while it is."""

    def __init__(self, image: Any, mode: str, icc: bytes | None, *, ink_alpha: bool = False) -> None:
        self.size: tuple[int, int] = (image.width, image.height)
        self.icc = icc
        self._image = image
        self._mode = mode
        self._ink_alpha = ink_alpha

    def each(self, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
        """Yield each strip with its first row, as L, LA, RGB, RGBA, CMYK or LAB. Raises `DamagedError`.

        All but the last have a multiple of so many rows.
        """
        from PIL import Image

        vips = library()
        width, height = self.size
        rows = multiple * max(1, _STRIP_PIXELS // (width * multiple))
        try:
            region = vips.Region.new(self._image)
            for top in range(0, height, rows):
                size = (width, min(rows, height - top))
                yield top, self._picture(Image, size, region.fetch(0, top, *size))
        except vips.Error as error:
            raise damaged(error) from error

    def _picture(self, pillow: Any, size: tuple[int, int], data: Any) -> Image.Image:
        if self._ink_alpha:  # Pillow has no mode for it
            bands = [pillow.frombuffer("L", size, bytes(data)[at::5], "raw", "L", 0, 1) for at in range(5)]
            opaque, _ = to_srgb(pillow.merge("CMYK", bands[:4]), self.icc)
            opaque.putalpha(bands[4])
            return opaque
        mode = "RGB" if self._mode in ("LAB", "YCbCr") else self._mode
        strip = pillow.frombuffer(mode, size, data, "raw", mode, 0, 1)
        if self._mode != mode:
            strip = pillow.merge(self._mode, strip.split())
        picture: Image.Image = strip.convert("RGB") if self._mode == "YCbCr" else strip
        return picture


def open_tiff(path: Path, tiff: Tiff) -> Strips:
    """Open a TIFF's picture, not turned. Raises `UnsupportedError` and `DamagedError`."""
    vips = library()
    page, layout = tiff.page, layout_of(tiff.page)
    try:
        image = _load(path, tiff)
        _compare(image, tiff, layout)
        if layout.real:
            low, high = _load(path, tiff).min(), _load(path, tiff).max()
            if not 0 <= low <= high <= 1:
                raise UnsupportedError("has floating-point samples outside of 0 to 1, whose range is not defined")
        bands = image.bands
        eight = _eight_bits(image, layout)
    except vips.Error as error:
        raise damaged(error) from error
    colours = bands - (layout.samples - layout.colours)
    alpha = [colours + layout.alpha - layout.colours] if layout.alpha is not None else []
    if bands > colours + len(alpha) or alpha:
        eight = eight.extract_band(0, n=colours).bandjoin([eight.extract_band(at) for at in alpha])
    if layout.model is Model.CMYK:
        return Strips(eight, "CMYK", page.icc, ink_alpha=bool(alpha))
    special = {Model.CIELAB: "LAB", Model.ICCLAB: "LAB", Model.YCBCR: "YCbCr"}.get(layout.model)
    return Strips(eight, special or _MODES[colours + len(alpha)], page.icc)


def open_jpeg(path: Path) -> tuple[Strips, int]:
    """Open a JPEG, not turned; return it with its orientation."""
    vips = library()
    try:
        image = vips.Image.jpegload(str(path), access="sequential", fail_on="error")
        icc = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
        orientation = image.get("orientation") if image.get_typeof("orientation") else 1
    except vips.Error as error:
        raise damaged(error) from error
    mode = "CMYK" if image.interpretation == "cmyk" else _MODES[image.bands]
    return Strips(image, mode, icc), orientation if orientation in range(1, 9) else 1


def open_png(path: Path) -> Strips:
    """Open a PNG of RGB, perhaps with a transparent colour."""
    vips = library()
    try:
        image = vips.Image.pngload(str(path), access="sequential", fail_on="error")
        icc = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
        return Strips(image.msb() if image.format != "uchar" else image, _MODES[image.bands], icc)
    except vips.Error as error:
        raise damaged(error) from error


def damaged(error: Exception) -> DamagedError | UnsupportedError:
    """Return what is wrong with a file, as libvips put it, in one line."""
    lines = dict.fromkeys(line.strip() for line in str(error).splitlines())
    reasons = [line for line in lines if line and not line.startswith("unable to call")]
    for words, what in _UNSUPPORTED.items():
        if any(words in reason for reason in reasons):
            return UnsupportedError(f"is a JPEG {what}, which is not supported")
    return DamagedError(
        f"is truncated or damaged: {'; '.join(reasons)[:300].rstrip('.') or 'libvips does not say how'}"
    )


def _load(path: Path, tiff: Tiff) -> Any:
    return library().Image.tiffload(str(path), page=tiff.index, n=1, access="sequential", fail_on="error")


def _compare(image: Any, tiff: Tiff, layout: Layout) -> None:
    page = tiff.page
    bands = layout.samples + (2 if layout.model is Model.PALETTE and image.bands > layout.samples else 0)
    form = "float" if layout.real else _FORMATS[layout.bits]
    if layout.model is Model.CIELAB:
        form = "short"
    if (image.width, image.height, image.bands, image.format) != (page.width, page.height, bands, form):
        raise UnsupportedError(
            f"is a TIFF of {page.width} x {page.height} pixels with {layout.samples} {layout.bits}-bit samples, "
            f"but is decoded to {image.width} x {image.height} with {image.bands} of another kind"
        )


def _eight_bits(image: Any, layout: Layout) -> Any:
    if layout.real:
        return (image * 255 + 0.5).cast("uchar")
    if layout.model is Model.CIELAB:
        lab = image.colourspace("lab")
        return (lab * [255 / 100, 1, 1] + [0.5, 128.5, 128.5]).cast("uchar")
    return image.msb() if image.format != "uchar" else image
