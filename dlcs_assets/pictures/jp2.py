"""Reading JPEG 2000: the boxes by ourselves, the samples with OpenJPEG, which all decoders at hand rest on.

What is plain is decoded at a small resolution by Pillow. Of the rest imagecodecs is given the bare codestream, so that
nothing but what is written here makes colours of its components.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlcs_assets.domain.media_type import SourceFormat
from dlcs_assets.domain.picture_limits import PictureLimits, require_modest
from dlcs_assets.pictures.colour import Spectrum, rgb_of_ycbcr, to_srgb
from dlcs_assets.pictures.demands import Gate, jp2_demand
from dlcs_assets.pictures.fingerprint import Fingerprint, Shrinker, fingerprint_of, on_white
from dlcs_assets.pictures.header import Colour, PictureHeader, unreadable, unsupported
from dlcs_assets.pictures.jp2_boxes import BrokenJp2Error, read_at, read_boxes
from dlcs_assets.pictures.jp2_colour import CIELAB, CMYK, GREY, SRGB, SYCC, Jp2Colour, read_jp2_colour
from dlcs_assets.pictures.jp2_structure import Jp2Structure, read_jp2_structure
from dlcs_assets.pictures.orientation import exif_orientation, upright_size, xmp_orientation

if TYPE_CHECKING:
    from dlcs_assets.pictures.fingerprint import Array

CODESTREAM: Final = SourceFormat("image/x-jp2-codestream", is_image=True)
_XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID: Final = b"JpgTiffExif->JP2"
_UUID_BYTES: Final = 16
_METADATA_BYTES: Final = 2**20
_BRAND: Final = b"jp2 "
_SMALLEST: Final = 64
# Decoded whole, with all components: some 800 MB of RGBA with 16 bits.
MAX_DECODED_PIXELS: Final = 100_000_000
_SPACES: Final = frozenset({SRGB, GREY, SYCC, CMYK})
_COLOURS: Final = {GREY: Colour.GREY, SYCC: Colour.YCBCR, CMYK: Colour.CMYK}


@dataclass(frozen=True, slots=True)
class Jp2File:
    """What a JP2's boxes and headers say, read once. `stated` is the orientation, None if there is none."""

    path: Path
    format: SourceFormat
    structure: Jp2Structure
    colour: Jp2Colour
    stated: int | None
    says_jp2: bool

    @property
    def decoded_small(self) -> bool:
        """Whether a small resolution says all."""
        return self.colour.is_plain and self.structure.at_origin and not self.structure.is_subsampled


def open_jp2(path: Path, source_format: SourceFormat, gate: Gate, structure: Jp2Structure | None = None) -> Jp2File:
    """Read structure, unless it is known, and boxes, and let the file in.

    Raises as `Gate.let_in`, and PermanentError `image_unreadable`, `image_unsupported` or `jp2_broken`.
    """
    structure = structure or read_jp2_structure(path)
    # Sizes and counts first: a decoder's memory is judged once the boxes have said how it is decoded.
    file_bytes = path.stat().st_size
    require_modest(jp2_demand(structure, file_bytes, whole=False), file_bytes, gate.limits)
    colour = _colour(path, source_format)
    stated, says_jp2 = _read_metadata(path)
    opened = Jp2File(path, source_format, structure, colour, stated, says_jp2)
    gate.let_in(jp2_demand(structure, file_bytes, whole=not opened.decoded_small), file_bytes)
    return opened


def jp2_header(jp2: Jp2File) -> PictureHeader:
    """Return the header of a JP2 that was opened."""
    structure, colour = jp2.structure, jp2.colour
    width, height = upright_size(structure.width, structure.height, jp2.stated)
    return PictureHeader(
        jp2.format,
        width,
        height,
        jp2.stated or 1,
        jp2.stated is not None,
        _colour_name(colour),
        max(colour.bits, default=8),
        has_alpha=colour.alpha is not None,
        has_profile=colour.profile is not None,
        variant=None if jp2.format == CODESTREAM or (jp2.format.is_jp2 and jp2.says_jp2) else "JPX",
    )


def jp2_fingerprint(jp2: Jp2File, gate: Gate) -> Fingerprint:
    """Decode a JP2: at a small resolution where it is plain, otherwise whole. Raises as `open_jp2`."""
    structure, colour = jp2.structure, jp2.colour
    if jp2.decoded_small:
        samples = _decoded_small(jp2.path, structure, gate)
        levels = samples * (255 / (2 ** colour.bits[0] - 1))
    else:
        levels = _channels(decode_whole(jp2.path, structure, gate), colour)
    # OpenJPEG has made RGB of what is subsampled, whatever the boxes say.
    grid, transparent = _shown(levels, colour, is_ycc=colour.space == SYCC and not structure.is_subsampled)
    shrinker = Shrinker(grid.shape[1], grid.shape[0], 3)
    shrinker.add(0, 0, grid)
    return fingerprint_of(
        shrinker.means(),
        shrinker.column_edges,
        shrinker.row_edges,
        orientation=jp2.stated or 1,
        is_transparent=transparent,
    )


def decodes_within(path: Path, structure: Jp2Structure, limits: PictureLimits) -> bool:
    """Return whether a JP2 may be decoded whole, for nothing but the proof."""
    demand = jp2_demand(structure, path.stat().st_size, whole=True, as_levels=False)
    return demand.pixels <= MAX_DECODED_PIXELS and demand.memory_bytes <= limits.memory_bytes


def decode_whole(path: Path, structure: Jp2Structure, gate: Gate, *, as_levels: bool = True) -> Array:
    """Decode the codestream, (rows, columns, components).

    Raises as `Gate.let_in`, and PermanentError `image_unreadable`, or `image_unsupported` above `MAX_DECODED_PIXELS`.
    """
    import numpy as np
    from imagecodecs import Jpeg2kError, jpeg2k_decode

    if structure.width * structure.height > MAX_DECODED_PIXELS:
        raise unsupported("image/jp2", f"more than {MAX_DECODED_PIXELS} pixels, and not plain grey or RGB")
    file_bytes = path.stat().st_size
    gate.let_in(jp2_demand(structure, file_bytes, whole=True, as_levels=as_levels), file_bytes)
    start, end = structure.codestream
    with path.open("rb") as file:
        codestream = read_at(file, start, end - start)
    try:
        samples = jpeg2k_decode(codestream, numthreads=1)
    except (Jpeg2kError, ValueError, RuntimeError, NotImplementedError) as error:
        if str(error).endswith("not supported"):
            raise unsupported("image/jp2", str(error).removesuffix(" not supported")) from error
        raise unreadable("image/jp2", str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    samples = np.asarray(samples)
    if samples.shape[:2] != (structure.height, structure.width):
        shape = f"{samples.shape[1]} x {samples.shape[0]}"
        raise unreadable("image/jp2", f"it decodes to {shape}, its header says {structure.width} x {structure.height}")
    return samples if samples.ndim == 3 else samples[..., None]  # noqa: PLR2004 (axes)


def _decoded_small(path: Path, structure: Jp2Structure, gate: Gate) -> Array:
    """Decode the smallest resolution that is large enough."""
    import numpy as np

    steps = min(structure.levels, max(0, (min(structure.width, structure.height) // _SMALLEST).bit_length() - 1))
    decoder = import_module("PIL.Jpeg2KImagePlugin").Jpeg2KImageFile
    try:
        with decoder(path) as image:
            if steps:
                # Pillow rounds where OpenJPEG takes the ceiling, and then finds its buffer too small: a size for which
                # both are the same gives what OpenJPEG gives.
                power = 1 << steps
                image._size = (-(-image.width // power) * power, -(-image.height // power) * power)  # noqa: SLF001 (above)
                image.reduce = steps
            image.load()
            samples = np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders fed with foreign bytes raise whatever they stumble over
        if steps == 0:
            raise unreadable("image/jp2", error or type(error).__name__) from error
        return decode_whole(path, structure, gate)
    samples = samples if samples.ndim == 3 else samples[..., None]  # noqa: PLR2004 (axes)
    if structure.bit_depth > 8 and samples.dtype == np.uint8:  # noqa: PLR2004 (bits)
        return samples.astype(np.float64) * 257
    return samples.astype(np.float64)


def _channels(samples: Array, colour: Jp2Colour) -> Array:
    """Return levels of 0 to 255 of the channels in the order of the colours, opacity last."""
    import numpy as np

    if samples.shape[2] != colour.components:
        raise unreadable("image/jp2", f"it has {samples.shape[2]} components, its header says {colour.components}")
    if colour.signed:
        raise unsupported("image/jp2", "signed samples")
    wanted = [*colour.channels, *([] if colour.alpha is None else [colour.alpha])]
    levels = np.empty((*samples.shape[:2], len(wanted)), np.float32)
    for at, channel in enumerate(wanted):
        if colour.palette is None:
            levels[..., at] = samples[..., channel] * (255 / (2 ** colour.bits[channel] - 1))
            continue
        if channel >= len(colour.mapping):
            raise unreadable("image/jp2", "its palette does not have a column for each channel")
        component, column = colour.mapping[channel]
        if component >= samples.shape[2] or (column is not None and column >= len(colour.palette.columns)):
            raise unreadable("image/jp2", "its palette does not have a column for each channel")
        if column is None:
            levels[..., at] = samples[..., component] * (255 / (2 ** colour.bits[component] - 1))
        else:
            entries = np.array(colour.palette.columns[column], np.float32)
            index = np.minimum(samples[..., component], len(entries) - 1)
            levels[..., at] = entries[index] * (255 / (2 ** colour.palette.bits[column] - 1))
    return levels


def _shown(levels: Array, colour: Jp2Colour, *, is_ycc: bool) -> tuple[Array, bool]:
    import numpy as np

    count = len(colour.channels)
    colours = levels[..., :count]
    if is_ycc and count == 3:  # noqa: PLR2004 (Y, Cb, Cr)
        colours = np.clip(rgb_of_ycbcr(colours), 0, 255)
    spectrum = {1: Spectrum.GREY, 3: Spectrum.RGB}.get(count)
    of_inks = colour.space == CMYK or (colour.profile or b"")[16:20] == b"CMYK"
    if of_inks and count == 4:  # noqa: PLR2004 (inks)
        spectrum = Spectrum.CMYK
    if spectrum is None:
        raise unsupported("image/jp2", f"{count} channels, of which not all are said to be colour or opacity")
    shown = to_srgb(colours, spectrum, colour.profile)
    if colour.alpha is None:
        return shown, False
    alpha = levels[..., count] / 255
    return on_white(shown, alpha, is_premultiplied=colour.is_premultiplied), bool(alpha.min() < 1)


def _colour(path: Path, source_format: SourceFormat) -> Jp2Colour:
    try:
        colour = read_jp2_colour(path)
    except BrokenJp2Error as error:
        raise unreadable(source_format.media_type, error) from error
    if colour.space is not None and colour.space not in _SPACES:
        name = "L*a*b*" if colour.space == CIELAB else f"number {colour.space}"
        raise unsupported(source_format.media_type, f"the colour space {name}")
    return colour


def _colour_name(colour: Jp2Colour) -> Colour:
    if colour.palette is not None:
        return Colour.PALETTE
    if colour.space in _COLOURS:
        return _COLOURS[colour.space]
    return Colour.GREY if len(colour.channels) == 1 else Colour.RGB


def _read_metadata(path: Path) -> tuple[int | None, bool]:
    """Return the orientation, and whether the file says that a reader of JP2, part 1 of the standard, can read it."""
    found: dict[bytes, bytes] = {}
    says_jp2 = False
    with path.open("rb") as file:
        try:
            for box in read_boxes(file, 0, path.stat().st_size):
                if box.kind not in {b"ftyp", b"uuid"}:
                    continue
                content = read_at(file, box.start, min(box.end - box.start, _METADATA_BYTES))
                if box.kind == b"ftyp":
                    brands = (content[at : at + 4] for at in range(8, len(content), 4))
                    says_jp2 |= _BRAND in {content[:4], *brands}
                elif content[:_UUID_BYTES] in {_EXIF_UUID, _XMP_UUID}:
                    found[content[:_UUID_BYTES]] = content[_UUID_BYTES:]
        except BrokenJp2Error:
            pass  # reported by what reads its structure
    return exif_orientation(found.get(_EXIF_UUID)) or xmp_orientation(found.get(_XMP_UUID, b"")), says_jp2
