"""Reading TIFF with tifffile and imagecodecs. They give samples: what those stand for is decided here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.pictures.colour import Spectrum, rgb_of_ycbcr, to_srgb
from dlcs_assets.pictures.fingerprint import (
    Fingerprint,
    Shrinker,
    fingerprint_of,
    on_white,
    without_ink,
)
from dlcs_assets.pictures.header import (
    Colour,
    PictureHeader,
    SampleKind,
    unreadable,
    unsupported,
)
from dlcs_assets.pictures.orientation import upright_size, valid_orientation, xmp_orientation

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

    from dlcs_assets.pictures.fingerprint import Array

TIFF: Final = SourceFormat("image/tiff", is_image=True)

_COLOURS: Final = {
    0: Colour.GREY,
    1: Colour.GREY,
    2: Colour.RGB,
    3: Colour.PALETTE,
    5: Colour.CMYK,
    6: Colour.YCBCR,
    8: Colour.LAB,
    9: Colour.LAB,
}
# Of each colour, how many samples of a pixel belong to it. Those beyond are alpha, or anything.
_COLOUR_SAMPLES: Final = {Colour.RGB: 3, Colour.CMYK: 4, Colour.YCBCR: 3, Colour.LAB: 3}
_WHITE_IS_ZERO: Final = 0
_ICC_LAB: Final = 9
_PREMULTIPLIED, _ALPHA = 1, 2  # kinds of extra samples
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED: Final = 2  # of SubfileType
_PLANES: Final = 2  # planar configuration: each channel by itself
_CMYK_INKS: Final = 1
_OLD_JPEG, _NEW_JPEG, _WEBP = 6, 7, 50001
_LOGLUV: Final = frozenset({34676, 34677})
_SAMPLE_KINDS: Final = {1: SampleKind.UNSIGNED, 2: SampleKind.SIGNED, 3: SampleKind.FLOAT}
_DEPTHS: Final = frozenset({*range(1, 17), 32})  # those in between are written in more than one order of bytes
_MAX_BYTES_AT_ONCE: Final = 2**24
_ROWS_AT_ONCE: Final = 256
_MAX_PAGES: Final = 100_000
_MANY: Final = 2**16
_PAGES_CHOSEN_FROM: Final = 64

_ORIENTATION, _XMP, _SUBFILE_TYPE, _INK_SET, _ICC_PROFILE = 274, 700, 255, 332, 34675


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the page that is read is stored."""

    page: TiffPage
    header: PictureHeader
    extra: int | None  # the kind of the first extra sample
    profile: bytes | None


def read_tiff_header(source: Path | bytes) -> PictureHeader:
    """Read the header of the page that is chosen. Raises PermanentError `image_unreadable` or `image_unsupported`."""
    with _layout(source) as layout:
        return layout.header


def read_tiff(source: Path | bytes) -> tuple[PictureHeader, Fingerprint]:
    """Read the header of the page that is chosen, and decode it, strip by strip or tile by tile.

    Raises as `read_tiff_header`.
    """
    with _layout(source) as layout:
        return layout.header, _fingerprint(layout)


def choose_page(subfile_types: list[tuple[int, int, int]]) -> int:
    """Return the index of the page that is the picture, by (NewSubfileType, SubfileType, pixels) of each.

    It is the first one that is neither marked as a smaller version of another nor as a mask; if all are, the largest.
    """
    for index, (new, old, _) in enumerate(subfile_types):
        if not new & (_REDUCED | _MASK) and old != _OLD_REDUCED:
            return index
    return max(range(len(subfile_types)), key=lambda index: subfile_types[index][2])


@contextmanager
def _layout(source: Path | bytes) -> Iterator[_Layout]:
    from tifffile import TiffFile

    layout: _Layout | None = None
    try:
        with TiffFile(source if isinstance(source, Path) else io.BytesIO(source)) as file:
            layout = _read_layout(file)
            yield layout
    except (PermanentError, MemoryError):
        raise
    except NotImplementedError as error:
        raise unsupported(TIFF.media_type, _first_line(error)) from error
    except Exception as error:
        if layout is not None and layout.page.compression == _OLD_JPEG:
            raise unsupported(TIFF.media_type, "some of what is compressed as JPEG of the old style") from error
        raise unreadable(TIFF.media_type, _first_line(error)) from error


def _read_layout(file: TiffFile) -> _Layout:
    pages = min(len(file.pages), _MAX_PAGES)
    if pages == 0:
        raise ValueError("it has no page")
    looked_at = [_page(file, index) for index in range(min(pages, _PAGES_CHOSEN_FROM))]
    chosen = choose_page([(each.subfiletype, _number(each, _SUBFILE_TYPE), _pixels(each)) for each in looked_at])
    page = looked_at[chosen]
    if page.imagewidth < 1 or page.imagelength < 1:
        raise ValueError("it has no pixels")
    _check_kind(page)
    stated = _stated_orientation(page)
    orientation = stated or 1
    width, height = upright_size(page.imagewidth, page.imagelength, orientation)
    colour = _COLOURS[page.photometric]
    bits = _bits(page)
    extra = _extra(page, colour)
    profile = page.tags.valueof(_ICC_PROFILE)
    header = PictureHeader(
        TIFF,
        width,
        height,
        orientation,
        stated is not None,
        Colour.BILEVEL if colour is Colour.GREY and bits == 1 else colour,
        bits,
        _SAMPLE_KINDS[int(page.sampleformat)],
        has_alpha=extra in {_PREMULTIPLIED, _ALPHA},
        has_profile=bool(profile),
        page=chosen + 1,
        pages=pages,
        variant=_variant(file, page),
    )
    return _Layout(page, header, extra, bytes(profile) if profile else None)


def _extra(page: TiffPage, colour: Colour) -> int | None:
    """Return the kind of the first sample after the colours. Untagged, readers take it as opacity."""
    if page.extrasamples:
        return int(page.extrasamples[0])
    colours = {Colour.GREY: 1, Colour.RGB: 3}.get(colour)
    return _ALPHA if colours and page.samplesperpixel == colours + 1 else None


def _page(file: TiffFile, index: int) -> TiffPage:
    from tifffile import TiffPage

    page = file.pages[index]
    return page if isinstance(page, TiffPage) else page.aspage()


def _check_kind(page: TiffPage) -> None:
    compression = int(page.compression)
    if compression in _LOGLUV:
        raise unsupported(TIFF.media_type, "LogLuv colours")
    if page.photometric not in _COLOURS:
        raise unsupported(TIFF.media_type, f"photometric interpretation {page.photometric}")
    if page.sampleformat not in _SAMPLE_KINDS:
        raise unsupported(TIFF.media_type, f"sample format {page.sampleformat}")
    if _SAMPLE_KINDS[int(page.sampleformat)] is SampleKind.SIGNED and page.photometric not in {8, 9}:
        raise unsupported(TIFF.media_type, "signed samples, whose range is not defined")
    if _bits(page) not in _DEPTHS:
        raise unsupported(TIFF.media_type, f"samples of {_bits(page)} bits")
    if page.planarconfig == _PLANES and page.photometric in {0, 1} and page.samplesperpixel > 1:
        raise unsupported(TIFF.media_type, "grey with transparency in separate planes, which no two readers agree on")
    if page.planarconfig == _PLANES and _COLOURS[page.photometric] is Colour.LAB:
        raise unsupported(TIFF.media_type, "L*a*b* colours in separate planes")
    if page.photometric == 5 and _number(page, _INK_SET, _CMYK_INKS) != _CMYK_INKS:  # noqa: PLR2004 (separated)
        raise unsupported(TIFF.media_type, "inks other than CMYK")


def _bits(page: TiffPage) -> int:
    bits: Any = page.bitspersample  # one for each channel, if they differ
    if isinstance(bits, tuple):
        if len(set(bits)) != 1:
            raise unsupported(TIFF.media_type, f"channels of different depths: {', '.join(map(str, bits))} bits")
        return int(bits[0])
    return int(bits)


def _variant(file: TiffFile, page: TiffPage) -> str | None:
    if file.is_bigtiff:
        return "BigTIFF"
    if page.compression == _WEBP:
        return "WebP in TIFF"
    return None


def _stated_orientation(page: TiffPage) -> int | None:
    value = _number(page, _ORIENTATION)
    xmp = page.tags.valueof(_XMP)
    return valid_orientation(value) or (xmp_orientation(bytes(xmp)) if isinstance(xmp, bytes) else None)


def _number(page: TiffPage, tag: int, default: int = 0) -> int:
    """Return the number in a tag; some write it as a byte, or twice."""
    value: Any = page.tags.valueof(tag, default)
    if isinstance(value, bytes | tuple) and value:
        value = value[0]
    return value if isinstance(value, int) else default


def _pixels(page: TiffPage) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _fingerprint(layout: _Layout) -> Fingerprint:
    header, page = layout.header, layout.page
    width, height = header.stored_size
    reader = _samples_of(layout)
    shrinker = Shrinker(width, height, reader.channels)
    for top, left, plane, pixels in _parts(page, width, height):
        reader.add(shrinker, top, left, plane, pixels)
    grid, transparent = reader.finished(shrinker.means())
    return fingerprint_of(
        grid,
        shrinker.column_edges,
        shrinker.row_edges,
        orientation=header.orientation,
        is_transparent=transparent,
    )


def _parts(page: TiffPage, width: int, height: int) -> Iterator[tuple[int, int, int, Array]]:
    """Yield all parts of a page as (top, left, plane, pixels), none of them large if the file has none that is."""
    file = page.parent.filehandle
    if page.is_memmappable and not page.is_tiled and page.planarconfig != _PLANES:
        kind, offset = f"{page.parent.byteorder}{page.dtype.char if page.dtype else 'B'}", page.dataoffsets[0]
        # Often all of it is in one strip.
        file.seek(offset)
        for top in range(0, height, _ROWS_AT_ONCE):
            rows = min(_ROWS_AT_ONCE, height - top)
            samples = file.read_array(kind, rows * width * int(page.samplesperpixel))
            yield top, 0, 0, samples.reshape(rows, width, -1)
        return
    for segment, (plane, _, top, left, _), _ in page.segments(maxworkers=1, buffersize=_MAX_BYTES_AT_ONCE):
        if top >= height or left >= width:
            continue
        if segment is None:
            raise ValueError("a strip or tile is missing")
        yield top, left, plane, segment[0, : height - top, : width - left]


def _samples_of(layout: _Layout) -> _Samples:
    page = layout.page
    if layout.header.colour is Colour.PALETTE:
        return _PaletteSamples(layout)
    if page.planarconfig == _PLANES and int(page.samplesperpixel) > 1:
        return _PlaneSamples(layout)
    return _Samples(layout)


class _Samples:
    """What the samples of a page stand for, as levels of 0 to 255 of a `Spectrum`: all those of a pixel together."""

    def __init__(self, layout: _Layout) -> None:
        page, header = layout.page, layout.header
        self._header, self._profile = header, layout.profile
        self._colour_samples = _COLOUR_SAMPLES.get(header.colour, 1)
        self._samples = int(page.samplesperpixel)
        if self._samples < self._colour_samples:
            raise ValueError(f"{self._samples} samples a pixel are too few for {header.colour}")
        # Of those in JPEG the decoder has made RGB.
        self._is_ycbcr = header.colour is Colour.YCBCR and page.compression not in {_OLD_JPEG, _NEW_JPEG}
        self._inverted = page.photometric == _WHITE_IS_ZERO
        self._is_icc_lab = page.photometric == _ICC_LAB
        self._extra = layout.extra if layout.extra in {_PREMULTIPLIED, _ALPHA} else None
        self._top = 1.0 if header.samples is SampleKind.FLOAT else float(2**header.bits - 1)
        self._seen_through = False

    @property
    def channels(self) -> int:
        """How many channels the parts have that are added up."""
        return self._samples if self._is_plain else len(self._spectrum.channels)

    def add(self, shrinker: Shrinker, top: int, left: int, _plane: int, pixels: Array) -> None:
        """Add a part of the picture: samples as they are, or levels where the means of samples say less."""
        pixels = self._checked(pixels)
        shrinker.add(top, left, pixels if self._is_plain else self._composed(self._scaled(pixels)))

    def finished(self, means: Array) -> tuple[Array, bool]:
        """Return sRGB levels of the means of what was added, and whether some of the picture can be seen through."""
        if self._is_plain:
            means = self._scaled(means)[..., : self._colour_samples]
        return to_srgb(means, self._spectrum, self._profile), self._seen_through

    @property
    def _spectrum(self) -> Spectrum:
        match self._header.colour:
            case Colour.GREY | Colour.BILEVEL:
                return Spectrum.GREY
            case Colour.CMYK:
                return Spectrum.CMYK if self._profile else Spectrum.RGB
            case Colour.LAB:
                return Spectrum.LAB
            case _:
                return Spectrum.RGB

    @property
    def _is_plain(self) -> bool:
        """Whether means of samples say as much as means of colours."""
        needs_pixels = self._extra is not None or self._is_lab
        return not needs_pixels and (self._header.colour is not Colour.CMYK or self._profile is not None)

    @property
    def _is_lab(self) -> bool:
        return self._header.colour is Colour.LAB

    def _checked(self, pixels: Array) -> Array:
        """Check samples, and leave them as they are but for signs."""
        import numpy as np

        if self._header.samples is SampleKind.FLOAT:
            lowest, highest = pixels.min(), pixels.max()
            if not (np.isfinite(lowest) and np.isfinite(highest) and lowest >= 0 and highest <= 1):
                raise unsupported(TIFF.media_type, "floating-point samples that are not all between 0 and 1")
        if self._is_lab and not self._is_icc_lab:
            # a* and b* are signed, whatever the sample format says; L* is not.
            signed = pixels.astype(np.int32)
            half = 1 << (self._header.bits - 1)
            chroma = signed[..., 1:3] if pixels.shape[-1] > 1 else signed[..., :0]
            chroma[chroma >= half] -= 2 * half
            shifted: Array = signed + np.array([0, half, half, *[0] * (pixels.shape[-1] - 3)])
            return shifted
        return pixels

    def _scaled(self, samples: Array) -> Array:
        import numpy as np

        levels: Array = samples.astype(np.float32 if samples.size > _MANY else np.float64)
        levels *= 255 / self._top
        if self._inverted:
            levels[..., 0] = 255 - levels[..., 0]
        if self._is_ycbcr:
            levels[..., :3] = rgb_of_ycbcr(levels[..., :3])
        return levels

    def _composed(self, levels: Array) -> Array:
        colours = levels[..., : self._colour_samples]
        if self._header.colour is Colour.CMYK and self._profile is None:
            colours = without_ink(colours)
        if self._extra is None:
            return colours
        alpha = levels[..., self._colour_samples] / 255
        if not self._seen_through and alpha.size and alpha.min() < 1:
            self._seen_through = True
        if self._spectrum in {Spectrum.CMYK, Spectrum.LAB}:
            raise unsupported(TIFF.media_type, f"{self._header.colour} with transparency")
        return on_white(colours, alpha, is_premultiplied=self._extra == _PREMULTIPLIED)


class _PlaneSamples(_Samples):
    """Of pages in which each channel is by itself: colours are made of the means, as no part has all channels."""

    @property
    def channels(self) -> int:
        return self._samples

    def add(self, shrinker: Shrinker, top: int, left: int, plane: int, pixels: Array) -> None:
        shrinker.add(top, left, self._checked(pixels), channel=plane)

    def finished(self, means: Array) -> tuple[Array, bool]:
        return super().finished(means if self._is_plain else self._composed(self._scaled(means)))


class _PaletteSamples(_Samples):
    """Of pages whose samples are numbers of colours."""

    def __init__(self, layout: _Layout) -> None:
        super().__init__(layout)
        self._colours = _palette(layout.page)

    @property
    def channels(self) -> int:
        return 3

    def add(self, shrinker: Shrinker, top: int, left: int, plane: int, pixels: Array) -> None:
        if plane == 0:  # others are no part of the colours
            shrinker.add(top, left, self._colours[self._checked(pixels)[..., 0].astype("uint16")])

    def finished(self, means: Array) -> tuple[Array, bool]:
        return to_srgb(means, self._spectrum, self._profile), False


def _palette(page: TiffPage) -> Array:
    import numpy as np

    colours = page.colormap
    if colours is None:
        raise ValueError("its palette is missing")
    levels = np.asarray(colours, np.float64).T
    # The standard has 16 bits; many write 8.
    return np.asarray(levels / 257 if levels.max(initial=0) > 255 else levels)  # noqa: PLR2004 (levels)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0].removeprefix("<").strip() if text else type(error).__name__
