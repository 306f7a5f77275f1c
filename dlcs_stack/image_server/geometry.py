"""What a request means for a picture of a given size: which pixels, how many of them, and the canonical name for that.

Sizes come from the picture's full dimensions and round as Cantaloupe's do: each edge is floor(edge x scale + 0.5), and
at least 1. Pure arithmetic; nothing here reads a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlcs_stack.image_server.parameters import ImageRequest, Region, Rotation, Size, Version
from dlcs_stack.image_server.refusal import ENLARGED_WITHOUT_CARET, RefusalError, bad_request

Edges = tuple[int, int]


@dataclass(frozen=True)
class Limits:
    """`max_pixels` of the result, `max_scale` against the region asked for; 0 is no limit."""

    max_pixels: int
    max_scale: float


@dataclass(frozen=True)
class Box:
    """A part of the picture, in pixels of its full size, inside it."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Job:
    """What to do with a picture's pixels. Two requests that mean the same are the same job."""

    box: Box
    size: Edges
    rotation: Rotation
    quality: str
    format: str

    @property
    def scale(self) -> float:
        """The larger of the two edges' scales: how much of the source's detail is needed."""
        return max(self.size[0] / self.box.width, self.size[1] / self.box.height)


def resolve(request: ImageRequest, width: int, height: int, limits: Limits) -> Job:
    """Work out what `request` asks of a picture of `width` x `height`.

    Raises `RefusalError`: 400 for a region outside the picture, for enlarging without ^ and above `max_scale` (403 in
    version 2, which knows no ^), 403 above `max_pixels`.
    """
    box = _box(request.region, width, height)
    edges = _edges(request.size, box, limits)
    _check(request, box, edges, limits)
    return Job(box=box, size=edges, rotation=request.rotation, quality=request.quality, format=request.format)


def canonical_path(version: Version, job: Job, width: int, height: int, limits: Limits) -> str:
    """Return the four segments after the identifier in the canonical form of the API's version."""
    box = job.box
    region = "full" if box == Box(0, 0, width, height) else f"{box.x},{box.y},{box.width},{box.height}"
    size = _canonical_size(version, job, limits)
    rotation = ("!" if job.rotation.mirrored else "") + f"{job.rotation.degrees:g}"
    quality = "default" if job.quality == "color" else job.quality
    return f"{region}/{size}/{rotation}/{quality}.{job.format}"


def largest(width: int, height: int, limits: Limits, *, enlarge: bool = False) -> Edges:
    """Return the size that `max`, or `^max`, stands for."""
    area_scale = math.sqrt(limits.max_pixels / (width * height)) if limits.max_pixels else math.inf
    ceiling = (limits.max_scale or math.inf) if enlarge else 1.0
    scale = min(area_scale, ceiling)
    if scale == 1 or math.isinf(scale):
        return width, height
    # Rounded down, so that the area stays within the limit.
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def _box(region: Region, width: int, height: int) -> Box:
    if region.kind == "full":
        return Box(0, 0, width, height)
    if region.kind == "square":
        edge = min(width, height)
        return Box((width - edge) // 2, (height - edge) // 2, edge, edge)
    x, y, w, h = region.values
    if region.kind == "percent":
        x, w = (width * value / 100 for value in (x, w))
        y, h = (height * value / 100 for value in (y, h))
    left, top = _half_up(x), _half_up(y)
    if left >= width or top >= height:
        raise bad_request("The region lies outside the picture.")
    return Box(left, top, min(max(1, _half_up(w)), width - left), min(max(1, _half_up(h)), height - top))


def _edges(size: Size, box: Box, limits: Limits) -> Edges:
    if size.kind == "full":
        return box.width, box.height
    if size.kind == "max":
        return largest(box.width, box.height, limits, enlarge=size.enlarge)
    if size.kind == "percent":
        return _scaled(box, size.percent / 100)
    by_width = size.width / box.width if size.width else math.inf
    by_height = size.height / box.height if size.height else math.inf
    if size.kind == "edges" and size.width and size.height:
        return size.width, size.height
    return _scaled(box, min(by_width, by_height))


def _check(request: ImageRequest, box: Box, edges: Edges, limits: Limits) -> None:
    enlarges = edges[0] > box.width or edges[1] > box.height
    scale = max(edges[0] / box.width, edges[1] / box.height)
    if request.version == 3 and enlarges and not request.size.enlarge:  # noqa: PLR2004 (the API's version)
        raise bad_request(ENLARGED_WITHOUT_CARET)
    if limits.max_scale and enlarges and scale > limits.max_scale:
        percent = math.floor(limits.max_scale * 100 + 0.5)
        status = 400 if request.version == 3 else 403  # noqa: PLR2004 (the API's version)
        raise RefusalError(status, f"Requests for scales in excess of {percent}% are not allowed.")
    if limits.max_pixels and edges[0] * edges[1] > limits.max_pixels:
        raise RefusalError(403, f"The result would have more than the {limits.max_pixels} pixels that are allowed.")


def _canonical_size(version: Version, job: Job, limits: Limits) -> str:
    box, (width, height) = job.box, job.size
    if version == 2:  # noqa: PLR2004 (the API's version)
        if job.size == (box.width, box.height):
            return "full"
        keeps_shape = job.size == _scaled(box, width / box.width)
        return f"{width}," if keeps_shape else f"{width},{height}"
    if job.size == largest(box.width, box.height, limits):
        return "max"
    enlarges = width > box.width or height > box.height
    return f"^{width},{height}" if enlarges else f"{width},{height}"


def _scaled(box: Box, scale: float) -> Edges:
    return max(1, _half_up(box.width * scale)), max(1, _half_up(box.height * scale))


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)
