"""The image server as Cantaloupe 5.0.6 is with Java2D and OpenJPEG, measured: what it reads wrong, and what it refuses.

For tests of its clients. All the rest it does as the plain server does. Of pictures that it reads wrong, it knows
regions and sizes only. Runs in the workers, apart from `resolve`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError  # noqa: TID253 (only workers load this module)

from dlcs_stack.image_server import geometry, reading, rendering
from dlcs_stack.image_server.config import Config
from dlcs_stack.image_server.geometry import Box, Job, Limits
from dlcs_stack.image_server.parameters import ImageRequest, Rotation
from dlcs_stack.image_server.reading import Description
from dlcs_stack.image_server.refusal import RefusalError, bad_request, unreadable
from dlcs_stack.image_server.rendering import Batch

NAME: Final = "cantaloupe-5.0.6"
EMPTY_AREA: Final = "Resulting pixel area is empty."
# Below it its resampling filters do not work, and it gives a picture without anything on it.
_LEAST_EDGE: Final = 3
_MIRRORED: Final = frozenset({2, 4, 5, 7})
_SWAPPING: Final = frozenset({5, 6, 7, 8})
_BIG_TIFF: Final = (b"II+\0", b"MM\0+")
_TIFF: Final = (b"II*\0", b"MM\0*")
_JP2_SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_UNTURNED: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error)
_UNSIGNED, _FLOAT, _ASSOCIATED_ALPHA, _ALPHA = 1, 3, 1, 2
_PHOTOMETRIC_RGB, _SEPARATED, _LAB = 2, 5, 8
_BREAKS_OFF: Final = 200
_UNTURNED_ROTATION: Final = Rotation(mirrored=False, degrees=0.0)


@dataclass(frozen=True)
class _Look:
    """What decides whether it reads a picture right. `mode` is Pillow's, or what Pillow's would be."""

    format: str
    mode: str = ""
    orientation: int = 1
    has_profile: bool = False

    @property
    def is_not_turned(self) -> bool:
        return self.orientation in _MIRRORED or (self.format == "PNG" and self.orientation > 1)

    @property
    def is_whitened(self) -> bool:
        return self.mode == "CMYK" and not self.has_profile

    @property
    def is_bluish(self) -> bool:
        return (self.format, self.mode) == ("TIFF", "RGBA") and self.orientation > 1 and not self.is_not_turned

    @property
    def samples_misread(self) -> bool:
        return self.is_whitened or self.mode in {"LAB", "F"} or (self.format == "JPEG2000" and self.mode.endswith("A"))


def breaks_off(refusal: RefusalError) -> bool:
    """Return whether the answer is one that begins as a good one, and has no end."""
    return refusal.status == _BREAKS_OFF


def describer(config: Config) -> Callable[[str, int], Description]:
    """Return what reads the headers of a file, with or without a decoder for JPEG 2000."""
    return _describe if config.jp2_decoder else _describe_without_jp2


def resolve(request: ImageRequest, width: int, height: int, limits: Limits) -> Job:
    """Work out what is asked as the plain server does. Raises `RefusalError` with 400 for an edge that rounds to 0."""
    job = geometry.resolve(request, width, height, limits)
    scale = _uniform_scale(request, job)
    if scale is not None and min(job.box.width, job.box.height) * scale < Fraction(1, 2):
        raise bad_request(EMPTY_AREA)
    return job


def render(batch: Batch) -> list[bytes | RefusalError]:
    """Return each job's picture, or what it gets instead.

    Raises `RefusalError`: 500 for a PNG or JP2 that ends too early, and what `breaks_off` knows for such a JPEG.
    """
    look = _look(batch.path)
    if (look.format, look.mode) == ("PNG", "LA"):
        width = batch.description.width
        raise RefusalError(500, f"Index {width} out of bounds for length {width}")
    try:
        if look.samples_misread or look.is_not_turned or look.is_bluish:
            raster = _misread(batch.path, look)
            results: list[bytes | RefusalError] = [_encoded(_scaled(raster, job), job.format) for job in batch.jobs]
        else:
            results = rendering.render(batch)
    except RefusalError as refusal:
        raise _as_it_fails(refusal, look) from refusal
    return [_as_it_is_given(result, job, look) for result, job in zip(results, batch.jobs, strict=True)]


def _describe(path: str, max_pixels: int) -> Description:
    look = _look(path)
    _check_format(path)
    description = reading.describe(path, max_pixels)
    if look.is_not_turned and look.orientation in _SWAPPING:
        return replace(description, width=description.height, height=description.width)
    return description


def _describe_without_jp2(path: str, max_pixels: int) -> Description:
    if _head(path).startswith((_JP2_SIGNATURE, _CODESTREAM)):
        raise unreadable("there is no decoder for JPEG 2000.")
    return _describe(path, max_pixels)


def _check_format(path: str) -> None:
    head = _head(path)
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    is_avif = head[4:8] == b"ftyp"
    is_jpx = head.startswith(_JP2_SIGNATURE) and b"jp2 " not in _brands(head)
    if is_webp or is_avif or is_jpx or head.startswith(_BIG_TIFF):
        raise unreadable("its format is not supported.")


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(512)


def _brands(head: bytes) -> list[bytes]:
    start = len(_JP2_SIGNATURE)
    (length,) = struct.unpack(">I", head[start : start + 4].ljust(4, b"\0"))
    body = head[start + 8 : start + length]
    return [body[:4], *(body[at : at + 4] for at in range(8, len(body), 4))]


def _uniform_scale(request: ImageRequest, job: Job) -> Fraction | None:
    """Return the scale of both edges; None where each has its own."""
    size = request.size
    if size.kind == "percent":
        return Fraction(size.percent) / 100
    if size.kind not in {"edges", "confined"} or (size.kind == "edges" and size.width and size.height):
        return None
    wanted = ((size.width, job.box.width), (size.height, job.box.height))
    return min(Fraction(edge, actual) for edge, actual in wanted if edge)


def _look(path: str) -> _Look:
    """Read what the headers say; of what Pillow does not know, nothing."""
    try:
        if _head(path).startswith(_TIFF):
            return _look_at_tiff(path)
        with Image.open(path) as image:
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            kind, profile = str(image.format), image.info.get("icc_profile")
            if kind == "JPEG2000":
                orientation = reading.describe(path, 0).orientation
            return _Look("JPEG" if kind == "MPO" else kind, image.mode, orientation, bool(profile))
    except (UnidentifiedImageError, RefusalError, *_BROKEN):
        return _Look("")


def _look_at_tiff(path: str) -> _Look:
    with Path(path).open("rb") as file:
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
    base = ExifTags.Base
    photometric = _first(tags, base.PhotometricInterpretation, 0)
    mode = {_SEPARATED: "CMYK", _LAB: "LAB"}.get(photometric, "")
    if _first(tags, base.SampleFormat, _UNSIGNED) == _FLOAT:
        mode = "F"
    elif photometric == _PHOTOMETRIC_RGB and _first(tags, base.ExtraSamples, 0) in {_ASSOCIATED_ALPHA, _ALPHA}:
        mode = "RGBA"
    elif _first(tags, base.BitsPerSample, 1) == 1:
        mode = "1"
    return _Look("TIFF", mode, _first(tags, base.Orientation, 1), base.InterColorProfile in tags)


def _first(tags: Mapping[int, Any], tag: int, default: int) -> int:
    value = tags.get(tag, default)
    return int(value[0] if isinstance(value, (tuple, bytes)) else value)


def _misread(path: str, look: _Look) -> Image.Image:
    """Return all pixels of a picture as it sees them."""
    if look.samples_misread:
        return _misread_samples(path, look)
    description = reading.describe(path, 0)
    edges = (description.width, description.height)
    whole = Job(Box(0, 0, *edges), edges, _UNTURNED_ROTATION, "default", "png")
    (upright,) = rendering.render(Batch(path, description, (whole,)))
    if isinstance(upright, RefusalError):
        raise upright
    image = Image.open(io.BytesIO(upright))
    if look.is_not_turned:
        return image.transpose(_UNTURNED[look.orientation])
    red, green, blue = _on_white(image).split()
    return Image.merge("RGB", (blue, green, red))


def _misread_samples(path: str, look: _Look) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except _BROKEN as error:
        raise unreadable(f"{error}.") from error
    if look.mode == "LAB":
        return Image.merge("RGB", image.split())
    if look.mode == "F":
        return image.point(lambda value: value * 255).convert("L") if image.mode == "F" else image
    return image if look.is_whitened else image.convert(image.mode.removesuffix("A"))


def _on_white(image: Image.Image) -> Image.Image:
    shown = image.convert("RGBA")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(shown.convert("RGB"), mask=shown.getchannel("A"))
    return ground


def _scaled(image: Image.Image, job: Job) -> Image.Image:
    box = job.box
    part = image.crop((box.x, box.y, box.x + box.width, box.y + box.height))
    return part if job.size == part.size else part.resize(job.size, Image.Resampling.BICUBIC)


def _encoded(image: Image.Image, extension: str) -> bytes:
    image.info.clear()
    buffer = io.BytesIO()
    if extension == "jpg":
        shown = _on_white(image) if image.has_transparency_data else image
        shown.save(buffer, "JPEG", quality=90)
    else:
        image.save(buffer, {"tif": "TIFF"}.get(extension, extension.upper()))
    return buffer.getvalue()


def _as_it_is_given(result: bytes | RefusalError, job: Job, look: _Look) -> bytes | RefusalError:
    if job.size != (job.box.width, job.box.height):
        if min(*job.size, job.box.width, job.box.height) < _LEAST_EDGE:
            return _encoded(Image.new("RGB", job.size, "black"), job.format)
        if look.is_whitened:
            return _encoded(Image.new("RGB", job.size, "white"), job.format)
    if look.mode == "1" and isinstance(result, bytes):
        return _encoded(Image.open(io.BytesIO(result)).convert("RGB"), job.format)
    return result


def _as_it_fails(refusal: RefusalError, look: _Look) -> RefusalError:
    if look.format in {"PNG", "JPEG2000"}:
        return RefusalError(500, refusal.message)
    return RefusalError(_BREAKS_OFF, refusal.message) if look.format == "JPEG" else refusal
