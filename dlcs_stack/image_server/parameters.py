"""The grammar of the IIIF Image API's request parameters, 3.0 and 2.1: from path segments to records, strictly.

What a parameter means for a picture of a given size is worked out in `geometry`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from dlcs_stack.image_server.refusal import RefusalError, bad_request

Version = Literal[2, 3]

_INTEGER = r"[0-9]{1,9}"
_NUMBER = r"(?:[0-9]{1,9}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})"
_REGION = re.compile(rf"({_INTEGER}),({_INTEGER}),({_INTEGER}),({_INTEGER})")
_PERCENT_REGION = re.compile(rf"pct:({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})")
_EDGES = re.compile(rf"(!?)({_INTEGER})?,({_INTEGER})?")
_PERCENT_SIZE = re.compile(rf"pct:({_NUMBER})")
_ROTATION = re.compile(rf"(!?)({_NUMBER})")
_FULL_TURN = 360

QUALITIES: Final = ("default", "color", "gray", "bitonal")
MEDIA_TYPES: Final = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "tif": "image/tiff",
}


@dataclass(frozen=True)
class Region:
    """Which part: `values` are x, y, width and height, in pixels or in percent, and empty for the other kinds."""

    kind: Literal["full", "square", "pixels", "percent"]
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Size:
    """How large: edges in pixels, None where free. `enlarge` says that the size was prefixed with ^."""

    kind: Literal["max", "full", "edges", "confined", "percent"]
    width: int | None = None
    height: int | None = None
    percent: float = 0.0
    enlarge: bool = False


@dataclass(frozen=True)
class Rotation:
    """Mirrored on the vertical axis if asked, then turned clockwise by `degrees` (0 up to 360, exclusive)."""

    mirrored: bool
    degrees: float


@dataclass(frozen=True)
class ImageRequest:
    """An image request without its identifier. `format` is a key of `MEDIA_TYPES`, `quality` one of `QUALITIES`."""

    version: Version
    region: Region
    size: Size
    rotation: Rotation
    quality: str
    format: str


def parse_image_request(version: Version, region: str, size: str, rotation: str, name: str) -> ImageRequest:
    """Parse the four segments after the identifier, percent-decoded. Raises `RefusalError` with 400 or 415."""
    quality, dot, extension = name.rpartition(".")
    if not dot or quality not in QUALITIES:
        raise bad_request(f"The quality must be one of {', '.join(QUALITIES)}, followed by a dot and the format.")
    if extension not in MEDIA_TYPES:
        raise RefusalError(415, f"The format must be one of {', '.join(MEDIA_TYPES)}.")
    return ImageRequest(
        version=version,
        region=_region(region),
        size=_size(version, size),
        rotation=_rotation(rotation),
        quality=quality,
        format=extension,
    )


def _region(text: str) -> Region:
    if text == "full":
        return Region("full")
    if text == "square":
        return Region("square")
    if match := _REGION.fullmatch(text):
        region = Region("pixels", tuple(int(value) for value in match.groups()))
    elif match := _PERCENT_REGION.fullmatch(text):
        region = Region("percent", tuple(float(value) for value in match.groups()))
    else:
        raise bad_request("The region must be full, square, x,y,w,h or pct:x,y,w,h.")
    if not (region.values[2] and region.values[3]):
        raise bad_request("The region has no width or no height.")
    return region


def _size(version: Version, text: str) -> Size:
    if version == 2 and text == "full":  # noqa: PLR2004 (the API's version)
        return Size("full")
    enlarge = version == 3 and text.startswith("^")  # noqa: PLR2004 (the API's version)
    bare = text.removeprefix("^") if enlarge else text
    if bare == "max":
        return Size("max", enlarge=enlarge)
    if match := _PERCENT_SIZE.fullmatch(bare):
        percent = float(match[1])
        if not percent:
            raise bad_request("The size has no extent.")
        return Size("percent", percent=percent, enlarge=enlarge)
    match = _EDGES.fullmatch(bare)
    if match is None or not (match[2] or match[3]) or (match[1] and not (match[2] and match[3])):
        forms = "max, w,  ,h  pct:n  w,h or !w,h"
        also = ", each with ^ to enlarge" if version == 3 else ", or full"  # noqa: PLR2004 (the API's version)
        raise bad_request(f"The size must be one of {forms}{also}.")
    width, height = (int(edge) if edge else None for edge in (match[2], match[3]))
    if width == 0 or height == 0:
        raise bad_request("The size has no extent.")
    return Size("confined" if match[1] else "edges", width=width, height=height, enlarge=enlarge)


def _rotation(text: str) -> Rotation:
    match = _ROTATION.fullmatch(text)
    if match is None or float(match[2]) > _FULL_TURN:
        raise bad_request("The rotation must be a number from 0 to 360, prefixed with ! to mirror.")
    return Rotation(mirrored=bool(match[1]), degrees=float(match[2]) % _FULL_TURN)
