"""What the tags of a TIFF say: its pages, which of them is the picture, and what the samples of that one mean.

Tags are read here and not by a library, so that sizes and meanings can be compared with what was decoded. Numbers of
tags and values as in TIFF 6.0, its supplements and BigTIFF. No picture data is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final

from dlcs_stack.pictures.errors import DamagedError, UnsupportedError

MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_FORMS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_OPAQUE: Final = {2: 1, 7: 1}  # ASCII and undefined: bytes
_VALUES_READ: Final = 4096  # of a tag: more than any picture has samples
_ICC_LIMIT: Final = 64 * 2**20
_PAGES_READ: Final = 65_535

_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _INK_SET, _EXTRA, _FORMAT, _SUBSAMPLING, _ICC = (
    274,
    277,
    278,
    284,
    322,
    323,
    332,
    338,
    339,
    530,
    34675,
)
_READ: Final = frozenset(
    {
        *(_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC),
        *(
            _ORIENTATION,
            _SAMPLES,
            _ROWS,
            _PLANAR,
            _TILE_WIDTH,
            _TILE_HEIGHT,
            _INK_SET,
            _EXTRA,
            _FORMAT,
            _SUBSAMPLING,
            _ICC,
        ),
    }
)
_REDUCED_OR_MASK: Final = 0b101
_OLD_REDUCED: Final = 2
_ASSOCIATED, _UNASSOCIATED = 1, 2
_UNSIGNED, _FLOAT, _UNDEFINED = 1, 3, 4
_SEPARATE: Final = 2
_CMYK_INKS: Final = 1
_JPEG: Final = 7

_COMPRESSIONS: Final = frozenset({1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946, 50001})
_COMPRESSION_NAMES: Final = {
    6: "JPEG of the old style",
    22610: "JPEG XR",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


class Model(Enum):
    """What the colour samples of a pixel are. YCBCR: those that the decoder does not convert to RGB."""

    GREY = "grey"
    RGB = "RGB"
    PALETTE = "palette"
    CMYK = "CMYK"
    YCBCR = "YCbCr"
    CIELAB = "CIE L*a*b*"  # a and b are signed
    ICCLAB = "ICC L*a*b*"  # a and b have 0 in the middle of their range


_MODELS: Final = {
    0: Model.GREY,
    1: Model.GREY,
    2: Model.RGB,
    3: Model.PALETTE,
    5: Model.CMYK,
    6: Model.YCBCR,
    8: Model.CIELAB,
    9: Model.ICCLAB,
}
_MODEL_NAMES: Final = {
    4: "is a transparency mask and no picture",
    10: "has ITU L*a*b* colours",
    32803: "holds the raw data of a camera",
    32844: "has LogL samples",
    32845: "has LogLuv colours",
    34892: "holds the raw data of a camera",
}
_WHITE_IS_ZERO: Final = 0
_STORED_SAMPLES: Final = {Model.GREY: 1, Model.PALETTE: 1, Model.CMYK: 4}  # three of the others
_DEPTHS: Final = {
    Model.GREY: {1, 2, 4, 8, 16, 32},
    Model.PALETTE: {1, 2, 4, 8},
    Model.YCBCR: {8},
    Model.CIELAB: {8, 16},
    Model.ICCLAB: {8, 16},
}
_OTHER_DEPTHS: Final = {8, 16, 32}
_FLOAT_DEPTHS: Final = {16, 32}
_BYTE: Final = 8
_HALF: Final = 16


@dataclass(frozen=True)
class Page:
    """A page's tags, with the defaults of TIFF 6.0. `orientation` is 1 to 8, as EXIF's; `part` a strip or tile."""

    width: int
    height: int
    bits: tuple[int, ...]
    compression: int
    photometric: int | None
    orientation: int
    samples: int
    planar: bool
    ink_set: int
    extra: tuple[int, ...]
    formats: tuple[int, ...]
    subsampling: tuple[int, ...]
    tiled: bool
    icc: bytes | None
    secondary: bool
    part: tuple[int, int] = (0, 0)

    @property
    def part_bytes(self) -> int:
        """What a strip or tile is decoded to, of what is not read row by row."""
        if self.compression == 1 and not self.tiled:
            return 0
        return self.part[0] * self.part[1] * -(-self.bits[0] // 8) * (1 if self.planar else self.samples)


@dataclass(frozen=True)
class Layout:
    """What is stored for each pixel: `model`'s samples, then others, of which number `alpha` is opacity.

    `bits` for each, `real` if they are floating-point numbers.
    """

    model: Model
    bits: int
    real: bool
    samples: int
    colours: int
    alpha: int | None


@dataclass(frozen=True)
class Tiff:
    """A TIFF's picture: page number `index`, from 0, of `count`."""

    page: Page
    index: int
    count: int


def read_tiff(path: Path) -> Tiff:
    """Read the tags and select the picture: the first page that is neither a smaller version of another nor a mask.

    If all pages claim to be that, the largest. Raises `DamagedError`.
    """
    try:
        with path.open("rb") as file:
            pages = list(_pages(file))
    except (struct.error, ValueError, KeyError) as error:
        raise DamagedError(f"is truncated or damaged: {error}") from error
    if not pages:
        raise DamagedError("is truncated or damaged: the TIFF has no pages")
    index = next((at for at, page in enumerate(pages) if not page.secondary), None)
    if index is None:
        index = max(range(len(pages)), key=lambda at: pages[at].width * pages[at].height)
    return Tiff(pages[index], index, len(pages))


def layout_of(page: Page) -> Layout:
    """Return what a page's samples mean; raise `UnsupportedError` where nothing here reads them right."""
    model = _model_of(page)
    if page.compression not in _COMPRESSIONS:
        name = _COMPRESSION_NAMES.get(page.compression, f"number {page.compression}")
        raise UnsupportedError(f"is a TIFF with a compression that is not supported ({name})")
    colours = _STORED_SAMPLES.get(model, 3)
    if page.samples < colours:
        raise UnsupportedError(f"is a TIFF with {page.samples} samples for each pixel, where {colours} are needed")
    bits, real = _depth_of(page, model)
    _refuse_what_libvips_gets_wrong(page, model, bits, real=real)
    # A sample that is not said to be opacity is no part of the picture: a selection that Photoshop kept, for example.
    extra = page.extra[-(page.samples - colours) :] if page.samples > colours else ()
    if not page.extra and page.samples == colours + 1 and model in (Model.GREY, Model.RGB):
        extra = (_UNASSOCIATED,)  # without the tag, all readers at hand take it so
    alphas = [colours + at for at, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)]
    return Layout(model, bits, real, page.samples, colours, alphas[0] if alphas else None)


def _model_of(page: Page) -> Model:
    if page.photometric is None:
        raise UnsupportedError("is a TIFF that does not say what its samples mean (PhotometricInterpretation)")
    if page.photometric not in _MODELS:
        what = _MODEL_NAMES.get(page.photometric, f"has the photometric interpretation {page.photometric}")
        raise UnsupportedError(f"is a TIFF that {what}, which is not supported")
    model = _MODELS[page.photometric]
    if model is Model.CMYK and page.ink_set != _CMYK_INKS:
        raise UnsupportedError("is a TIFF with inks other than cyan, magenta, yellow and black")
    if model is Model.YCBCR and page.compression == _JPEG:
        return Model.RGB  # the decoder converts it
    return model


def _depth_of(page: Page, model: Model) -> tuple[int, bool]:
    if len(set(page.bits)) > 1 or len(set(page.formats)) > 1:
        raise UnsupportedError(f"is a TIFF with samples of different kinds ({', '.join(map(str, page.bits))} bits)")
    bits, kind = page.bits[0], page.formats[0]
    if kind == _FLOAT:
        if bits not in _FLOAT_DEPTHS or model not in (Model.GREY, Model.RGB) or page.photometric == _WHITE_IS_ZERO:
            raise UnsupportedError(f"is a TIFF with {bits}-bit floating-point samples, which are not supported")
        return bits, True
    if kind not in (_UNSIGNED, _UNDEFINED):
        raise UnsupportedError("is a TIFF with signed or complex samples, whose range is not defined")
    if bits not in _DEPTHS.get(model, _OTHER_DEPTHS) or (bits < _BYTE and page.samples > 1):
        raise UnsupportedError(f"is a TIFF with {bits}-bit samples, which are not supported for its kind of colours")
    return bits, False


def _refuse_what_libvips_gets_wrong(page: Page, model: Model, bits: int, *, real: bool) -> None:
    planar = page.planar and page.samples > 1
    if planar and (model in (Model.GREY, Model.PALETTE, Model.YCBCR) or (real and bits == _HALF)):
        raise UnsupportedError("is a TIFF with separate planes of a kind that is not supported")
    if planar and page.tiled:
        raise UnsupportedError("is a TIFF with separate planes in tiles, which is not supported")
    if model is Model.YCBCR and page.subsampling != (1, 1):
        raise UnsupportedError("is a TIFF with subsampled colours without JPEG, which is not supported")
    if _ASSOCIATED in page.extra and bits > _HALF and not real:
        raise UnsupportedError(f"is a TIFF with {bits}-bit samples multiplied with opacity, which is not supported")
    if model is Model.CIELAB and (planar or (bits == _BYTE and page.samples > 3)):  # noqa: PLR2004 (L, a and b)
        raise UnsupportedError("is a TIFF with L*a*b* colours in planes or with transparency, which is not supported")


def _pages(file: BinaryIO) -> Iterator[Page]:
    start = file.read(4)
    if start not in MAGIC:
        raise ValueError("its first bytes are not a TIFF's")
    order = "<" if start[:1] == b"I" else ">"
    big = b"+" in start
    if big:
        file.seek(8)
    (at,) = _unpack(file, order, "Q" if big else "I")
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _PAGES_READ:
        seen.add(at)
        file.seek(at)
        tags, at = _directory(file, order, big=big)
        yield _page(tags)


def _directory(file: BinaryIO, order: str, *, big: bool) -> tuple[dict[int, tuple[int, ...] | bytes], int]:
    """Read a directory at the file's position; return its tags and where the next one is."""
    (count,) = _unpack(file, order, "Q" if big else "H")
    entry, inline = (20, 8) if big else (12, 4)
    if count > 65_535:  # noqa: PLR2004 (as many as a TIFF that is not big can have)
        raise ValueError("a directory of its pages has too many entries")
    entries = file.read(entry * count)
    if len(entries) < entry * count:
        raise ValueError("it ends in a directory of its pages")
    (following,) = _unpack(file, order, "Q" if big else "I")
    tags: dict[int, tuple[int, ...] | bytes] = {}
    for at in range(0, len(entries), entry):
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), entries, at)
        if tag in _READ and tag not in tags:
            field = entries[at + entry - inline : at + entry]
            value = _value(file, order, kind, number, field)
            if value is not None:
                tags[tag] = value
    return tags, following


def _value(file: BinaryIO, order: str, kind: int, count: int, field: bytes) -> tuple[int, ...] | bytes | None:
    form = _FORMS.get(kind)
    if kind in _OPAQUE or kind == 1:
        length = min(count, _ICC_LIMIT)
    elif form is None or not count:
        return None
    else:
        count = min(count, _VALUES_READ)
        length = struct.calcsize(form) * count
    if length > len(field):
        (at,) = struct.unpack(order + ("Q" if len(field) == 8 else "I"), field)  # noqa: PLR2004 (of a BigTIFF)
        file.seek(at)
        data = file.read(length)
        if len(data) < length:
            raise ValueError("it ends in the values of a tag")
    else:
        data = field[:length]
    return data if form in (None, "B") else struct.unpack(f"{order}{count}{form}", data)


def _page(tags: dict[int, tuple[int, ...] | bytes]) -> Page:
    def numbers(tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(tags.get(tag) or default)

    def number(tag: int, default: int) -> int:
        return numbers(tag, (default,))[0]

    width, height = number(_WIDTH, 0), number(_HEIGHT, 0)
    if width < 1 or height < 1:
        raise ValueError("a page has no size")
    samples = number(_SAMPLES, 1)
    orientation = number(_ORIENTATION, 1)
    icc = tags.get(_ICC)
    photometric = tags.get(_PHOTOMETRIC)
    return Page(
        width=width,
        height=height,
        bits=numbers(_BITS, (1,))[:samples],
        compression=number(_COMPRESSION, 1),
        photometric=photometric[0] if photometric else None,
        orientation=orientation if orientation in range(1, 9) else 1,
        samples=samples,
        planar=number(_PLANAR, 1) == _SEPARATE,
        ink_set=number(_INK_SET, _CMYK_INKS),
        extra=numbers(_EXTRA, ()),
        formats=numbers(_FORMAT, (_UNSIGNED,))[:samples],
        tiled=_TILE_WIDTH in tags,
        subsampling=numbers(_SUBSAMPLING, (2, 2)),
        icc=icc if isinstance(icc, bytes) else None,
        part=(number(_TILE_WIDTH, width), number(_TILE_HEIGHT, min(height, number(_ROWS, height)))),
        secondary=bool(number(_NEW_SUBFILE, 0) & _REDUCED_OR_MASK) or number(_SUBFILE, 0) == _OLD_REDUCED,
    )


def _unpack(file: BinaryIO, order: str, form: str) -> tuple[int, ...]:
    size = struct.calcsize(form)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it ends in the middle of its tags")
    return struct.unpack(order + form, data)
