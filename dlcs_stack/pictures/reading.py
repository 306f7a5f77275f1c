"""Reading a picture: described from its headers, decoded upright at no more detail than is needed.

TIFFs are libvips's to decode, JPEG 2000 is Pillow's where its components are what every reader expects, OpenJPEG's bare
samples otherwise, and everything else Pillow's. What tags and boxes say is read by `tiff` and `jp2`.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_stack.pictures import jp2, samples, tiff, vips
from dlcs_stack.pictures.colour import on_white, to_eight_bits, to_srgb
from dlcs_stack.pictures.errors import DamagedError, NotAnImageError, UnreadableError, UnsupportedError

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names; PPM is the whole family of PBM, PGM and PPM.
FORMATS: Final = ("JPEG", "TIFF", "PNG", "GIF", "WEBP", "AVIF", "BMP", "PPM", "JPEG2000")
_BY_PILLOW: Final = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "PPM")

# What is often found under an image's name.
_LIKENESSES: Final = (
    (b"%PDF", "a PDF"),
    (b"<", "HTML or XML"),
    (b"{", "JSON"),
    (b"PK\x03\x04", "a ZIP archive"),
)
_IMAGES: Final = ((b"\xff\xd8", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"))
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_DEEP_RGB: Final = b"\x10\x02"  # a PNG's depth and colour type
_SHALLOW_GREY: Final = {b"\2\0": 85, b"\4\0": 17}  # what greys of two and four bits are multiplied with
_STRIP_LEVELS: Final = 6
_JPEG_LEVELS: Final = 3  # libjpeg decodes at 1/2, 1/4 and 1/8
_SWAPPING: Final = frozenset({5, 6, 7, 8})
_ORIENTATION_TAG: Final = 274
# Pixels that a byte can stand for, twice; of the other compressions, such as fax codes, more than that is blank paper.
_PIXELS_PER_BYTE: Final = {"JPEG": 1024, "JPEG by libvips": 65_536, "PNG": 16_512, "GIF": 5200}
_PIXELS_FROM: Final = 2**23
_ANY_PIXELS_PER_BYTE: Final = 65_536
_ANY_PIXELS_FROM: Final = 2**24
_SCAN: Final = re.compile(rb"\xff\xda")
_SCANS: Final = 500
_TILE_STATE_BYTES: Final = 6000
_COMPONENT_STATE_BYTES: Final = 1200


@dataclass(frozen=True)
class Description:
    """A source as its headers have it. Width and height are those of the upright picture, in pixels.

    `orientation` is EXIF's (1 to 8), what remains to be done after decoding; `levels` is how often both edges can be
    halved while decoding, `native_levels` whether the file itself holds them, `reducible` whether its decoder can stop
    at one. The picture is number `page` of `pages`, from 1. `part_bytes`: what its largest strip or tile decodes
    to, or a decoder keeps of its tiles.
    """

    format: str
    width: int
    height: int
    levels: int
    native_levels: bool
    orientation: int
    page: int = 1
    pages: int = 1
    reducible: bool = True
    part_bytes: int = 0

    @property
    def stored_size(self) -> tuple[int, int]:
        """The picture's size before it is turned upright."""
        return (self.height, self.width) if self.orientation in _SWAPPING else (self.width, self.height)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result should know."""
        return (f"The picture is page {self.page} of {self.pages}",) if self.pages > 1 else ()

    def decoded_pixels(self, reduction: int) -> int:
        """Return how many pixels a decode at 1/2^`reduction` gives."""
        return -(-self.width >> reduction) * -(-self.height >> reduction)

    def reduction_for(self, scale: float) -> int:
        """Return how often the edges may be halved while decoding for a result at `scale` of full size."""
        if not self.reducible:
            return 0
        halvings = math.floor(math.log2(1 / scale))
        if self.format == "TIFF":
            halvings -= 1  # its pixels are means of areas: what makes the result sharp needs some to choose from
        return max(0, min(self.levels, halvings))


@dataclass(frozen=True)
class Raster:
    """A decoded picture of mode L, LA, RGB, RGBA, CMYK or LAB, each of its pixels `factor` of the source's wide."""

    image: Image.Image
    factor: int
    icc_profile: bytes | None


@dataclass(frozen=True)
class Flat:
    """A decoded picture of mode L or RGB in sRGB, and what had to be ignored."""

    image: Image.Image
    notes: tuple[str, ...]


def describe(path: Path) -> Description:
    """Read the headers of a file; no picture data is decoded. Raises `UnreadableError`."""
    with _errors():
        kind = _kind(path)
        if kind == "TIFF":
            return _describe_tiff(path)
        if kind == "JPEG2000":
            return _describe_jp2(path)
        return _describe_other(path)


def require_bytes(path: Path, description: Description) -> None:
    """Refuse a file that is far too small for its pixels. Raises `DamagedError`."""
    pixels, length = description.width * description.height, path.stat().st_size
    least, most = _PIXELS_FROM, _PIXELS_PER_BYTE.get(description.format)
    if most is None:
        # A row of fax codes may be a bit.
        least, most = _ANY_PIXELS_FROM, max(_ANY_PIXELS_PER_BYTE, 16 * description.stored_size[0])
    if pixels > least and pixels > length * most:
        raise DamagedError(
            f"is truncated or damaged: its {length} bytes are far too few for {description.width} x "
            f"{description.height} pixels"
        )


def decode(path: Path, description: Description, reduction: int = 0, *, upright: bool = True) -> Raster:
    """Decode a file at 1/2^`reduction` of its size, or in full where that fails; raise `UnreadableError`."""
    return _decode(path, description, reduction, upright, lambda image, _icc: image)


def decode_flat(path: Path, description: Description, reduction: int = 0, *, upright: bool = True) -> Flat:
    """Decode a file as `decode` does, convert it to sRGB and lay it on white."""
    notes: dict[str, None] = {}

    def flatten(image: Image.Image, icc: bytes | None) -> Image.Image:
        shown, ignored = to_srgb(image, icc)
        notes.update(dict.fromkeys(ignored))
        return on_white(shown)

    raster = _decode(path, description, reduction, upright, flatten)
    return Flat(raster.image, (*description.notes, *notes))


_Finish = Callable[["Image.Image", bytes | None], "Image.Image"]


def _decode(path: Path, description: Description, reduction: int, upright: bool, finish: _Finish) -> Raster:
    orientation = description.orientation if upright else 1
    with _errors():
        if description.format == "TIFF":
            raster = _decode_tiff(path, reduction, orientation, finish)
        elif description.format == "JPEG2000":
            raster = _decode_jp2(path, reduction, orientation, finish)
        else:
            raster = _decode_other(path, description, reduction, orientation, finish)
    width, height = description.stored_size if orientation == 1 else (description.width, description.height)
    expected = (-(-width // raster.factor), -(-height // raster.factor))
    if raster.image.size != expected:
        raise DamagedError(
            "is truncated or damaged: its header says {} x {}, decoded are {} x {}".format(
                *expected, *raster.image.size
            )
        )
    raster.image.info = {}  # a saved picture would inherit the profile, which is spent, and comments
    return raster


def _kind(path: Path) -> str:
    """Return TIFF, JPEG2000, or an empty text for what is Pillow's to recognise; raise `UnreadableError`."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise NotAnImageError("is empty")
    if start.startswith(tiff.MAGIC):
        return "TIFF"
    if start.startswith((jp2.SIGNATURE, jp2.CODESTREAM)):
        return "JPEG2000"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS and not {b"avif", b"avis"} & _brands(start):
        raise UnsupportedError("is a HEIC image, which is not supported")
    return ""


def _brands(start: bytes) -> set[bytes]:
    length = int.from_bytes(start[:4], "big")
    return {start[8:12], *(start[at : at + 4] for at in range(16, min(length, len(start)), 4))}


# --- TIFF


def _describe_tiff(path: Path) -> Description:
    found = tiff.read_tiff(path)
    page = found.page
    layout = tiff.layout_of(page)  # refused by name, before anything is decoded
    lab = layout.model is tiff.Model.CIELAB and layout.bits == 8  # noqa: PLR2004 (which is decoded whole)
    return _description(
        "TIFF",
        (page.width, page.height),
        page.orientation,
        levels=0 if lab else _STRIP_LEVELS,
        page=found.index + 1,
        pages=found.count,
        part_bytes=page.part_bytes,
    )


def _decode_tiff(path: Path, reduction: int, orientation: int, finish: _Finish) -> Raster:
    found = tiff.read_tiff(path)
    layout = tiff.layout_of(found.page)
    if layout.model is tiff.Model.CIELAB and layout.bits == 8:  # noqa: PLR2004 (which libvips refuses)
        return _decode_lab(path, found, orientation, finish)
    return _gathered(vips.open_tiff(path, found), orientation, finish, 1 << reduction)


def _decode_lab(path: Path, found: tiff.Tiff, orientation: int, finish: _Finish) -> Raster:
    with _opened(path, ("TIFF",)) as image:
        image.seek(found.index)
        image.load()
        if image.mode != "LAB":
            raise UnsupportedError(f"is a TIFF with L*a*b* colours, but is decoded as {image.mode}")
        turned = image.size != (found.page.width, found.page.height) or found.page.orientation != 1
        return Raster(finish(_turned(image, 1 if turned else orientation), found.page.icc), 1, found.page.icc)


def _gathered(strips: vips.Strips, orientation: int, finish: _Finish, factor: int = 1) -> Raster:
    """Put strips into one picture, each of them reduced, finished and turned: there never is a second large picture."""
    from PIL import Image

    width, height = (-(-edge // factor) for edge in strips.size)
    size = (height, width) if orientation in _SWAPPING else (width, height)
    whole: Image.Image | None = None
    for row, stored in strips.each(factor):
        part = stored.reduce(factor) if factor > 1 else stored
        strip = _turned(finish(part, strips.icc), orientation)
        if whole is None:
            whole = Image.new(strip.mode, size)
        top, rows = row // factor, part.height
        across = height - top - rows if orientation in (6, 7) else top if orientation in (5, 8) else 0
        down = height - top - rows if orientation in (3, 4) else top if orientation in (1, 2) else 0
        whole.paste(strip, (across, down))
    if whole is None:
        raise DamagedError("is truncated or damaged: it has no rows")
    return Raster(whole, factor, strips.icc)


# --- JPEG 2000


def _describe_jp2(path: Path) -> Description:
    header = jp2.read_jp2(path)
    codestream = header.codestream
    size = (codestream.width, codestream.height)
    state = codestream.tiles * (_TILE_STATE_BYTES + _COMPONENT_STATE_BYTES * len(codestream.components))
    reducible = header.is_plain and header.codestream.at_origin
    return _description(
        "JPEG2000",
        size,
        _jp2_orientation(header),
        levels=codestream.levels,
        native=True,
        reducible=reducible,
        part_bytes=state,
    )


def _jp2_orientation(header: jp2.Jp2) -> int:
    from PIL import Image

    if header.exif:
        exif = Image.Exif()
        exif.load(header.exif)
        if orientation := exif.get(_ORIENTATION_TAG):
            return _valid(orientation)
    return header.xmp_orientation


def _decode_jp2(path: Path, reduction: int, orientation: int, finish: _Finish) -> Raster:
    header = jp2.read_jp2(path)
    end = jp2.codestream_end(path, header)
    image: Image.Image | None = None
    if header.is_plain:
        if reduction and header.codestream.at_origin:
            image = reduced_jp2(path, reduction)
        factor = 1 << reduction if image else 1
        image = image or _full_jp2(path)
    if image is None:
        # Also where Pillow fails: of a good file whose tile-parts are miscounted it decodes nothing.
        image, factor = samples.decode(path, header, end), 1
    icc = header.icc
    return Raster(_turned(finish(to_eight_bits(image), icc), orientation), factor, icc)


def reduced_jp2(path: Path, reduction: int) -> Image.Image | None:
    """Decode a plain JP2 at a lower level of resolution; None where that fails, as it may where a full decode does not.

    Pillow rounds the reduced size where OpenJPEG takes the ceiling, and then calls the data broken. From a size that is
    a multiple of 2^reduction both come to the same.
    """
    image = _opened(path, ("JPEG2000",))
    image.reduce = reduction  # type: ignore[method-assign, assignment]  # the JPEG 2000 plugin's own attribute
    image._size = tuple(-(-edge >> reduction) << reduction for edge in image.size)  # type: ignore[assignment] # noqa: SLF001 (see above)
    try:
        image.load()
    except (OSError, ValueError):
        return None
    return image


def _full_jp2(path: Path) -> Image.Image | None:
    try:
        image = _opened(path, ("JPEG2000",))
        image.load()
    except (OSError, ValueError, SyntaxError):
        return None
    return image


# --- everything else


def _describe_other(path: Path) -> Description:
    from PIL import Image, UnidentifiedImageError

    try:
        with _opened(path, _BY_PILLOW) as image:
            if image.format == "AVIF":
                image.info.pop("xmp", None)  # only its container turns it, which Pillow gives as EXIF
            # Of PNG's own getexif() nothing is wanted: it decodes the whole picture to find a chunk behind it.
            orientation = _valid(Image.Image.getexif(image).get(_ORIENTATION_TAG))
            kind = "JPEG" if image.format in {"JPEG", "MPO"} else str(image.format)
            if kind == "JPEG":
                _require_few_scans(path)
            levels = _JPEG_LEVELS if kind == "JPEG" else 0
            return _description(kind, image.size, orientation, levels=levels)
    except UnidentifiedImageError as error:
        start = _start(path)
        if start.startswith(b"\xff\xd8\xff"):
            return _describe_by_vips(path)
        name = next((name for magic, name in _IMAGES if start.startswith(magic)), None)
        if name:
            raise DamagedError(f"is a {name} whose header is damaged") from error
        known = ", ".join(FORMATS)
        raise NotAnImageError(
            f"is not an image in a format that is read here ({known}): it is {_likeness(start)}"
        ) from error


def _require_few_scans(path: Path) -> None:
    """Refuse a JPEG of which each of thousands of scans goes through the whole picture. Raises `DamagedError`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if any(number >= _SCANS for number, _ in enumerate(_SCAN.finditer(data))):
            raise DamagedError(f"is a JPEG of more than {_SCANS} scans")


def _describe_by_vips(path: Path) -> Description:
    strips, orientation = vips.open_jpeg(path)
    return _description("JPEG by libvips", strips.size, orientation)


def _decode_other(path: Path, description: Description, reduction: int, orientation: int, finish: _Finish) -> Raster:
    if description.format == "JPEG by libvips":
        return _gathered(vips.open_jpeg(path)[0], orientation, finish)
    if description.format == "PNG" and _start(path)[24:26] == _DEEP_RGB:
        # Pillow compares a transparent colour of 16 bits with what is left of the samples at 8.
        return _gathered(vips.open_png(path), orientation, finish)
    with _opened(path, _BY_PILLOW) as image:
        factor = 1
        if reduction and description.format == "JPEG":
            image.draft(image.mode, (image.width >> reduction, image.height >> reduction))
            factor = 1 << reduction
        image.load()
        scale = _SHALLOW_GREY.get(_start(path)[24:26], 1) if description.format == "PNG" else 1
        if scale > 1 and isinstance(image.info.get("transparency"), int):
            image.info["transparency"] *= scale  # Pillow scales the samples, and leaves this as it is stored
        icc = image.info.get("icc_profile")
        return Raster(_turned(finish(_with_set_opacity(to_eight_bits(image)), icc), orientation), factor, icc)


def _with_set_opacity(image: Image.Image) -> Image.Image:
    """Leave an opacity out that is 0 everywhere, as in BMPs of programs that do not set it."""
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getbbox() is None:
        return image.convert("RGB")
    return image


# --- shared


def _description(
    kind: str,
    stored: tuple[int, int],
    orientation: int,
    *,
    levels: int = 0,
    native: bool = False,
    reducible: bool = True,
    page: int = 1,
    pages: int = 1,
    part_bytes: int = 0,
) -> Description:
    width, height = reversed(stored) if orientation in _SWAPPING else stored
    return Description(kind, width, height, levels, native, orientation, page, pages, reducible, part_bytes)


def _opened(path: Path, formats: tuple[str, ...]) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        # A damaged tag is no reason to refuse a picture that decodes.
        warnings.simplefilter("ignore")
        return Image.open(path, formats=formats)


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and orientation in range(1, 9) else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _likeness(start: bytes) -> str:
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((name for magic, name in _LIKENESSES if start.startswith(magic)), "of an unknown kind")


@contextmanager
def _errors() -> Iterator[None]:
    """Say in one sentence what a decoder raises: OSError, SyntaxError, ValueError, struct.error, KeyError..."""
    try:
        yield
    except UnreadableError:
        raise
    except MemoryError as error:
        raise DamagedError("cannot be decoded: there is not enough memory") from error
    except OSError as error:
        if error.errno is None:
            raise _damaged(error) from error
        name = errno.errorcode.get(error.errno, "unknown")
        raise UnreadableError(f"could not be read: {os.strerror(error.errno)} ({name})") from error
    except Exception as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> DamagedError:
    reason = str(error).rstrip(".") or type(error).__name__
    return DamagedError(f"is truncated or damaged: {reason}")
