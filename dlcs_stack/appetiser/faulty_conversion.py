"""A conversion as Appetiser 2.1.0 does it, with what it gets wrong: for tests of clients that have to live with it.

It goes by suffixes, prepares most sources with Pillow in a file that it leaves behind, and calls its encoder by a shell
command in which paths are not quoted. The encoder keeps bits and channels as they are.
"""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlcs_stack.appetiser import faults
from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jobs import Converted, Job, ThumbFile
from dlcs_stack.appetiser.sizes import thumbnail_sizes
from dlcs_stack.appetiser.source import check_pixels

if TYPE_CHECKING:
    from PIL import Image

_TIFFS: Final = frozenset({".tif", ".tiff"})
_AS_THEY_ARE: Final = frozenset({".bmp", ".raw", ".pbm", ".pgm", ".ppm", ".jp2"})
_TURNED: Final = frozenset({"JPEG", "MPO", "WEBP"})
_EIGHT_BITS: Final = frozenset({"L", "RGB"})
_MIN_IS_WHITE: Final = 0
_RGBA: Final = 4
_JPEG_QUALITY: Final = 90
_FAILED, _NOT_FOUND = 1, 127


def convert(job: Job, admit: Callable[[int], None]) -> Converted:
    """Do a job. The size returned is the one that the source is stored in. Raises `ConversionError`."""
    with faults.opened(job.source) as image:
        stored = image.size
    check_pixels(*stored, job.max_pixels)
    admit(stored[0] * stored[1])
    picture = _thumbnail_source(job) if job.destination is None else _make_jp2(job, job.destination)
    return Converted(*stored, _write_thumbs(picture, job), ())


def _make_jp2(job: Job, destination: Path) -> Image.Image:
    """Write the JP2 where the shell would have it; return the picture that thumbnails are made of."""
    prepared = _prepared(job.source)
    if faults.is_jp2(prepared):
        shutil.copyfile(job.source, destination)
        return _opened(destination) if job.sizes else faults.opened(destination)
    command = f"kdu_compress -i {prepared} -o {destination} Clevels=7"
    if job.broken_encoder:
        raise _failed(command, _NOT_FOUND)
    if " " in str(prepared):
        raise _failed(command, _FAILED)
    written_to = Path(str(destination).partition(" ")[0])
    try:
        picture = _compress(prepared, job)
        (job.work_dir / "image.jp2").replace(written_to)
    except (OSError, ValueError, ConversionError) as error:
        raise _failed(command, _FAILED) from error
    if written_to != destination:
        raise ConversionError(
            "1 validation error for ConvertResponse\njp2\n  Path does not point to a file [type=path_not_file, "
            f"input_value={destination!r}, input_type=PosixPath]"
        )
    return picture


def _failed(command: str, status: int) -> ConversionError:
    """Return all that it says when its encoder fails. The reason goes nowhere."""
    return ConversionError(f"Command '{command}' returned non-zero exit status {status}.")


def _prepared(source: Path) -> Path:
    """Return a file that the encoder is thought to read: the source, or an uncompressed TIFF next to it."""
    suffix = source.suffix.lower()
    if suffix in _AS_THEY_ARE:
        return source
    return _uncompressed(source) if suffix in _TIFFS else _as_tiff(source)


def _uncompressed(source: Path) -> Path:
    from PIL import Image

    with Image.open(source) as image:
        mode, profile = image.mode, image.info.get("icc_profile")
        raw = source.with_name(f"raw_{source.name}")
        if mode not in faults.ENCODED_MODES:
            if not profile:
                raise _unknown_mode(mode)
            _through_profile(image, profile).save(raw, "TIFF", compression=None)
            return raw
        if image.info.get("compression") == "raw":
            return source
        image.save(raw, "TIFF", compression=None)  # its profile is kept, and not applied
        return raw


def _as_tiff(source: Path) -> Path:
    from PIL import Image, ImageOps

    with Image.open(source) as image:
        stale_mode = image.mode  # decides below, whatever the picture is converted to
        turned = ImageOps.exif_transpose(image) if image.format in _TURNED else image
        if profile := image.info.get("icc_profile"):
            turned = _through_profile(turned, profile)
        raw = source.with_name(f"raw_{source.stem}.tiff")
        turned.save(raw, "TIFF", compression=None, exif=b"")
    if stale_mode not in faults.ENCODED_MODES:
        raise _unknown_mode(stale_mode)
    return raw


def _unknown_mode(mode: str) -> ConversionError:
    return ConversionError(f"image_mode '{mode}' is not in known list for kdu_compress")


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    output = "RGBA" if image.has_transparency_data else "RGB"
    try:
        shown = ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode=output)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ConversionError("cannot build transform") from error
    if shown is None:
        raise AssertionError("a transform that is not in place gives an image")
    shown.info = {}
    return shown


def _compress(prepared: Path, job: Job) -> Image.Image:
    """Write `image.jp2` in the folder of the job with the bits and channels of a file, not turned."""
    from PIL import Image

    target = job.work_dir / "image.jp2"
    samples, bits = _samples(prepared) if prepared.suffix.lower() in _TIFFS else _samples_by_pillow(prepared)
    picture = Image.fromarray((samples.astype("f4") * (255 / (2**bits - 1)) + 0.5).astype("u1"))
    if bits == 8 and picture.mode in _EIGHT_BITS:  # noqa: PLR2004 (what nearly all have)
        encode(picture, target, job.optimisation, job.kakadu)
    elif bits == 8:  # noqa: PLR2004 (as above)
        picture.save(target, "JPEG2000")  # with a channel definition
    else:
        target.write_bytes(_deep_jp2(samples, bits))
    return picture if picture.mode in _EIGHT_BITS else picture.convert("RGB")


def _deep_jp2(samples: Any, bits: int) -> bytes:
    from imagecodecs import JPEG2K, jpeg2k_encode

    has_colours = samples.ndim > 2  # noqa: PLR2004 (rows, columns and channels)
    space = JPEG2K.CLRSPC.SRGB if has_colours else JPEG2K.CLRSPC.GRAY
    jp2 = bytes(jpeg2k_encode(samples, bitspersample=bits, codecformat="jp2", colorspace=space))
    return _with_alpha(jp2) if has_colours and samples.shape[2] == _RGBA else jp2


def _with_alpha(jp2: bytes) -> bytes:
    """Return a JP2 with a channel definition: three colours and their opacity."""
    roles = [(0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0)]
    body = struct.pack(">H", len(roles)) + b"".join(struct.pack(">3H", *role) for role in roles)
    box = struct.pack(">I4s", 8 + len(body), b"cdef") + body
    start = jp2.index(b"jp2h") - 4
    (length,) = struct.unpack(">I", jp2[start : start + 4])
    header = struct.pack(">I", length + len(box)) + jp2[start + 4 : start + length] + box
    return jp2[:start] + header + jp2[start + length :]


def _samples(tiff: Path) -> tuple[Any, int]:
    """Return the samples of a TIFF as they are stored, channels last, and how many bits they have."""
    import numpy as np
    from tifffile import TiffFile

    with TiffFile(tiff) as file:
        page = file.pages.first
        samples = np.asarray(page.asarray())
        bits = page.bitspersample if isinstance(page.bitspersample, int) else page.bitspersample[0]
        if page.planarconfig == 2 and samples.ndim > 2:  # noqa: PLR2004 (one plane after another)
            samples = np.moveaxis(samples, 0, -1)
        samples = np.ascontiguousarray(samples, "u2" if bits > 8 else "u1")  # noqa: PLR2004 (a byte)
        return (2**bits - 1 - samples if page.photometric == _MIN_IS_WHITE else samples), bits


def _samples_by_pillow(path: Path) -> tuple[Any, int]:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in faults.ENCODED_MODES:
            raise _unknown_mode(image.mode)
        return np.asarray(image).astype("u1"), 1 if image.mode == "1" else 8


def _opened(path: Path) -> Image.Image:
    with faults.opened(path) as image:
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise ConversionError(str(error)) from error
        return image if image.mode in _EIGHT_BITS else image.convert("RGB")


def _thumbnail_source(job: Job) -> Image.Image:
    if job.source.suffix.lower() == ".jp2":
        return _opened(job.source)
    with faults.opened(job.source) as image:
        return faults.as_it_is(image)


def _write_thumbs(picture: Image.Image, job: Job) -> tuple[ThumbFile, ...]:
    from PIL.Image import Resampling

    thumbs = []
    stem = (job.destination or job.source).stem
    for width, height in thumbnail_sizes(job.sizes, *picture.size, faults.thumbnail_size):
        if job.thumb_dir is None:
            raise ConversionError("unsupported operand type(s) for /: 'NoneType' and 'str'")
        check_pixels(width, height, job.max_pixels)
        path = job.thumb_dir / f"{stem}_{width}_{height}.jpg"
        try:
            picture.resize((width, height), Resampling.LANCZOS).save(path, "JPEG", quality=_JPEG_QUALITY)
        except (OSError, ValueError) as error:
            raise ConversionError(str(error)) from error
        thumbs.append(ThumbFile(path, width, height))
    return tuple(thumbs)
