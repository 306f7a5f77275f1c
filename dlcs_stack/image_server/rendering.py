"""From a decoded picture to the bytes of an answer: crop, scale, colour, turn, encode. Runs in a worker."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps  # noqa: TID253 (only workers load this module)

from dlcs_stack.image_server.geometry import Job
from dlcs_stack.image_server.reading import Description, Raster, decode
from dlcs_stack.image_server.refusal import RefusalError
from dlcs_stack.limits import limited
from dlcs_stack.pictures.colour import on_white, to_srgb

# Pillow's four bytes a pixel, twice: what is decoded, and what is made of it. OpenJPEG has four for each sample, too.
BYTES_PER_PIXEL: Final = 8
_JPEG_2000_WEIGHT: Final = 3
_JPEG_QUALITY = 90
_QUARTER_TURNS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
_WITH_ALPHA: Final = frozenset({"LA", "RGBA"})
_KEEPS_ALPHA: Final = frozenset({"png", "webp", "tif"})
_THRESHOLD = 128
# A shrink by more than this is done coarsely first: as good to the eye, and several times as fast.
_REDUCING_GAP = 3.0


@dataclass(frozen=True)
class Batch:
    """Jobs on one source that share a decode."""

    path: str
    description: Description
    jobs: tuple[Job, ...]

    @property
    def reduction(self) -> int:
        """How often the edges are halved while decoding: as the job that needs most detail allows."""
        return self.description.reduction_for(max(job.scale for job in self.jobs))

    @property
    def pixels(self) -> int:
        """Pixels of `BYTES_PER_PIXEL` that the work holds in memory at a time, about."""
        weight = _JPEG_2000_WEIGHT if self.description.format == "JPEG2000" else 1
        return (
            self.description.decoded_pixels(self.reduction) * weight
            + max(job.size[0] * job.size[1] for job in self.jobs)
            + self.description.part_bytes // BYTES_PER_PIXEL
        )


def render(batch: Batch) -> list[bytes | RefusalError]:
    """Decode once and encode each job's picture, in order; a job that fails by itself leaves the others alone.

    Raises `RefusalError` with 501 where the source is broken.
    """
    with limited(batch.pixels * BYTES_PER_PIXEL, batch.pixels):
        raster = decode(batch.path, batch.description, batch.reduction)
        return [_result(raster, job) for job in batch.jobs]


def _result(raster: Raster, job: Job) -> bytes | RefusalError:
    try:
        return _encode(_picture(raster, job), job.format)
    except (OSError, ValueError, MemoryError) as error:  # WebP and JPEG have a longest edge, for example
        return RefusalError(500, f"The picture cannot be made as {job.format}: {error}")


def _picture(raster: Raster, job: Job) -> Image.Image:
    image, _ = to_srgb(_scaled(raster, job), raster.icc_profile)
    if job.rotation.mirrored:
        image = ImageOps.mirror(image)
    image = _turned(image, job.rotation.degrees)
    if job.format not in _KEEPS_ALPHA or job.quality == "bitonal":
        image = on_white(image)
    if job.quality == "gray":
        return image.convert("LA" if image.mode in _WITH_ALPHA else "L")
    if job.quality == "bitonal":
        return image.convert("L").point(lambda value: 255 if value >= _THRESHOLD else 0, mode="1")
    return image


def _scaled(raster: Raster, job: Job) -> Image.Image:
    image, factor, box = raster.image, raster.factor, job.box
    # A reduced raster's last column and row may stand for less than a whole pixel of theirs: hence fractions.
    left, top = box.x / factor, box.y / factor
    right, bottom = (box.x + box.width) / factor, (box.y + box.height) / factor
    part = (left, top, min(right, image.width), min(bottom, image.height))
    if factor == 1 and job.size == (box.width, box.height):
        return image.crop((box.x, box.y, box.x + box.width, box.y + box.height))
    return image.resize(job.size, Image.Resampling.LANCZOS, box=part, reducing_gap=_REDUCING_GAP)


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    if degrees == 0:
        return image
    if degrees in _QUARTER_TURNS:
        return image.transpose(_QUARTER_TURNS[int(degrees)])
    # Transparent white: the corners stay transparent where the format can, and turn white where it cannot.
    return image.convert("RGBA").rotate(
        -degrees, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255, 0)
    )


def _encode(image: Image.Image, extension: str) -> bytes:
    # What the source carried along (EXIF, XMP, profile, transparency of a palette) is not the answer's.
    image.info.clear()
    buffer = io.BytesIO()
    match extension:
        case "jpg":
            image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        case "webp":
            image.save(buffer, "WEBP", quality=_JPEG_QUALITY)
        case "tif":
            image.save(buffer, "TIFF", compression="tiff_lzw")
        case _:
            image.save(buffer, extension.upper())
    return buffer.getvalue()
