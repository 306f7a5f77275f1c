"""One conversion, start to end: source in, JP2 and thumbnails out. Runs in a worker process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dlcs_stack.appetiser import faults
from dlcs_stack.appetiser.colour import to_srgb
from dlcs_stack.appetiser.encoder import encode
from dlcs_stack.appetiser.errors import ConversionError
from dlcs_stack.appetiser.jobs import Converted, Job, ThumbFile
from dlcs_stack.appetiser.jp2 import Jp2, is_jp2, read_jp2
from dlcs_stack.appetiser.sizes import thumbnail_size, thumbnail_sizes
from dlcs_stack.appetiser.source import check_pixels, decode, decode_jp2, open_source, reduction_for

if TYPE_CHECKING:
    from PIL import Image

JPEG_QUALITY: Final = 90
_JPEG_MAX_EDGE: Final = 65_500
_JPEG_2000_WEIGHT: Final = 2  # without tiles, OpenJPEG takes twice the memory for a pixel that any other step takes


def convert(job: Job, admit: Callable[[int], None]) -> Converted:
    """Do a job. `admit` is called once, with the pixels that will be in memory, and returns when that may be.

    Raises `ConversionError`; then there is no new JP2.
    """
    kept = faults.is_jp2(job.source) if job.faults else is_jp2(job.source)
    return _keep_jp2(job, admit) if kept else _convert_picture(job, admit)


def _keep_jp2(job: Job, admit: Callable[[int], None]) -> Converted:
    """Copy a JP2 as it is, once it is seen to decode, and make thumbnails from the resolution they need."""
    jp2 = read_jp2(job.source)
    width, height = jp2.codestream.width, jp2.codestream.height
    check_pixels(width, height, job.max_pixels)
    sizes = _sizes(job, width, height)
    picture, notes = _read_reduced(job, jp2, sizes, admit)
    thumbs = _write_thumbs(picture, sizes, job)
    if job.destination:
        copy = job.work_dir / "image.jp2"
        shutil.copyfile(job.source, copy)
        copy.replace(job.destination)
    return Converted(width, height, thumbs, notes)


def _read_reduced(
    job: Job, jp2: Jp2, sizes: list[tuple[int, int]], admit: Callable[[int], None]
) -> tuple[Image.Image, tuple[str, ...]]:
    widest = max((width for width, _ in sizes), default=1)
    highest = max((height for _, height in sizes), default=1)
    reduction = reduction_for(jp2.codestream, widest, highest)
    admit(_JPEG_2000_WEIGHT * (jp2.codestream.width * jp2.codestream.height) >> (2 * reduction))
    image = decode_jp2(job.source, jp2.codestream, reduction, job.max_pixels)
    return to_srgb(image, None if job.faults else jp2.icc)


def _convert_picture(job: Job, admit: Callable[[int], None]) -> Converted:
    with open_source(job.source, job.max_pixels) as image:
        admit(image.width * image.height * (_JPEG_2000_WEIGHT if image.format == "JPEG2000" else 1))
        stored = image.size
        picture, notes = _prepared(image, job)
    del image  # as large as the picture
    width, height = picture.size
    encoded = job.work_dir / "image.jp2"
    if job.destination:
        encode(picture, encoded, job.optimisation, job.kakadu)
        written = read_jp2(encoded).codestream
        if (written.width, written.height) != (width, height):
            raise ConversionError(f"The encoder wrote {written.width} x {written.height} for {width} x {height}.")
    # From the picture itself rather than from the JP2 just made of it, which would have to be decoded.
    thumbs = _write_thumbs(picture, _sizes(job, width, height), job)
    if job.destination:
        encoded.replace(job.destination)
    if job.faults:
        width, height = stored
    return Converted(width, height, thumbs, notes)


def _prepared(image: Image.Image, job: Job) -> tuple[Image.Image, tuple[str, ...]]:
    if job.faults:
        if job.destination is None:
            return faults.as_it_is(image), ()
        faults.check_mode(image, job.source)
    decode(image)
    return to_srgb(image, image.info.get("icc_profile"))


def _sizes(job: Job, width: int, height: int) -> list[tuple[int, int]]:
    rule = faults.thumbnail_size if job.faults else thumbnail_size
    sizes = thumbnail_sizes(job.sizes, width, height, rule) if job.thumb_dir else []
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
