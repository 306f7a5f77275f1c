"""One conversion, start to end: source in, JP2 and thumbnails out. Runs in a worker process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser import faulty_conversion
from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jobs import Converted, Job, ThumbFile
from dlcs_stack.appetiser.sizes import thumbnail_sizes
from dlcs_stack.appetiser.source import BYTES_PER_PIXEL, as_conversion_errors, describe_source
from dlcs_stack.pictures.jp2 import codestream_end, is_jp2, read_jp2
from dlcs_stack.pictures.reading import Description, decode_flat

if TYPE_CHECKING:
    from PIL import Image

JPEG_QUALITY: Final = 90
_JPEG_MAX_EDGE: Final = 65_500
_JPEG_2000_WEIGHT: Final = 2  # without tiles, OpenJPEG takes twice the memory for a pixel that any other step takes


def convert(job: Job, admit: Callable[[int], None]) -> Converted:
    """Do a job. `admit` is called once, with the pixels that will be in memory, and returns when that may be.

    Raises `ConversionError`; then there is no new JP2.
    """
    if job.faults:
        return faulty_conversion.convert(job, admit)
    return _keep_jp2(job, admit) if is_jp2(job.source) else _convert_picture(job, admit)


def _keep_jp2(job: Job, admit: Callable[[int], None]) -> Converted:
    """Copy a JP2 as it is, once it is seen to decode, and make thumbnails from the resolution they need."""
    source = describe_source(job.source, job.max_pixels)
    stored = source.stored_size
    sizes = _sizes(job, source.width, source.height)
    reduction = _reduction_for(source, sizes)
    admit(_JPEG_2000_WEIGHT * source.decoded_pixels(reduction) + source.part_bytes // BYTES_PER_PIXEL)
    with as_conversion_errors():
        flat = decode_flat(job.source, source, reduction)
    thumbs = _write_thumbs(flat.image, sizes, job)
    if job.destination:
        copy = job.work_dir / "image.jp2"
        shutil.copyfile(job.source, copy)
        copy.replace(job.destination)
    return Converted(*stored, thumbs, flat.notes)


def _reduction_for(source: Description, sizes: list[tuple[int, int]]) -> int:
    """Return the strongest reduction at which every thumbnail still has pixels enough."""
    widest = max((width for width, _ in sizes), default=1)
    highest = max((height for _, height in sizes), default=1)
    return source.reduction_for(min(1.0, max(widest / source.width, highest / source.height)))


def _convert_picture(job: Job, admit: Callable[[int], None]) -> Converted:
    source = describe_source(job.source, job.max_pixels)
    weight = _JPEG_2000_WEIGHT if source.format == "JPEG2000" else 1
    admit(source.width * source.height * weight + source.part_bytes // BYTES_PER_PIXEL)
    with as_conversion_errors():
        flat = decode_flat(job.source, source)
    picture = flat.image
    width, height = picture.size
    encoded = job.work_dir / "image.jp2"
    if job.destination:
        encode(picture, encoded, job.optimisation, job.kakadu)
        with as_conversion_errors():
            written = read_jp2(encoded)
            codestream_end(encoded, written)
        made = (written.codestream.width, written.codestream.height)
        if made != (width, height):
            raise ConversionError(f"The encoder wrote {made[0]} x {made[1]} for {width} x {height}.")
    # From the picture itself rather than from the JP2 just made of it, which would have to be decoded.
    thumbs = _write_thumbs(picture, _sizes(job, width, height), job)
    if job.destination:
        encoded.replace(job.destination)
    return Converted(width, height, thumbs, flat.notes)


def _sizes(job: Job, width: int, height: int) -> list[tuple[int, int]]:
    sizes = thumbnail_sizes(job.sizes, width, height) if job.thumb_dir else []
    for thumb_width, thumb_height in sizes:
        if max(thumb_width, thumb_height) > _JPEG_MAX_EDGE or thumb_width * thumb_height > job.max_pixels:
            raise ConversionError(
                f"A thumbnail of {thumb_width} x {thumb_height} pixels is larger than allowed: at most "
                f"{_JPEG_MAX_EDGE} on an edge and {job.max_pixels} in all."
            )
    return sizes


def _write_thumbs(picture: Image.Image, sizes: list[tuple[int, int]], job: Job) -> tuple[ThumbFile, ...]:
    from PIL.Image import Resampling

    if job.thumb_dir is None:
        return ()
    stem = (job.destination or job.source).stem
    thumbs = []
    for width, height in sizes:
        thumb = picture.resize((width, height), Resampling.LANCZOS, reducing_gap=3.0)
        path = job.thumb_dir / f"{stem}_{width}_{height}.jpg"
        thumb.save(path, "JPEG", quality=JPEG_QUALITY)
        thumbs.append(ThumbFile(path, width, height))
    return tuple(thumbs)
