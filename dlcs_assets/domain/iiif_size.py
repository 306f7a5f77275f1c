"""IIIF Image API 3 size parameters: reading them, which of them a policy may hold, and what they give for an image.

Pixels are computed as the DLCS's readers compute them (iiif-net), with the confinement that IIIF prescribes and with
edges of at least one pixel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Final

MAX_EDGE: Final = 2**31 - 1


class InvalidSizeError(ValueError):
    """Not a size parameter, or not one that a policy may hold. The message names it."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def longest(self) -> int:
        """The longest edge, by which thumbnails are named."""
        return max(self.width, self.height)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class SizeParameter:
    """A size parameter: `!w,h` is confined, `^` allows to upscale. `max` has neither edge nor percentage."""

    text: str
    width: int | None = None
    height: int | None = None
    confined: bool = False
    upscale: bool = False
    percent: Fraction | None = None

    def __str__(self) -> str:
        return self.text


_PARAMETER: Final = re.compile(
    r"(?P<upscale>\^?)(?:(?P<max>max)|pct:(?P<percent>[0-9]{1,9}(?:\.[0-9]{1,9})?)"
    r"|(?P<confined>!?)(?P<width>[0-9]{0,10}),(?P<height>[0-9]{0,10}))"
)


def parse_size(text: str) -> SizeParameter:
    """Read a size parameter. Raises `InvalidSizeError`.

    `^max` is refused: it means the largest size that a server offers, which is not known beforehand.
    """
    found = _PARAMETER.fullmatch(text)
    if found is None:
        raise InvalidSizeError(f"'{text}' is not a IIIF size parameter")
    upscale, confined = bool(found["upscale"]), bool(found["confined"])
    if found["max"]:
        if upscale:
            raise InvalidSizeError(f"'{text}' is not supported: the largest size of the server is not known")
        return SizeParameter(text)
    if found["percent"]:
        percent = Fraction(found["percent"])
        if not percent:
            raise InvalidSizeError(f"'{text}' gives no pixels")
        return SizeParameter(text, upscale=upscale, percent=percent)
    width, height = (int(found[edge]) if found[edge] else None for edge in ("width", "height"))
    if width is None and height is None:
        raise InvalidSizeError(f"'{text}' has neither width nor height")
    if confined and (width is None or height is None):
        raise InvalidSizeError(f"'{text}' needs both width and height after '!'")
    if not all(edge is None or 1 <= edge <= MAX_EDGE for edge in (width, height)):
        raise InvalidSizeError(f"'{text}' has an edge that is not between 1 and {MAX_EDGE}")
    return SizeParameter(text, width, height, confined=confined, upscale=upscale)


def validate_policy_size(text: str) -> SizeParameter:
    """Read a size that a thumbnail policy may hold: `w,` `,h` `^w,` `^,h` `!w,h` `^!w,h`. Raises `InvalidSizeError`."""
    parameter = parse_size(text)
    both = parameter.width is not None and parameter.height is not None
    neither = parameter.width is None and parameter.height is None
    if neither or (both and not parameter.confined):
        raise InvalidSizeError(f"'{text}' is not allowed in a policy: use w, or ,h or !w,h, each with or without ^")
    return parameter


def resolve(parameter: SizeParameter, image: Size) -> Size | None:
    """Return the pixels of a size for an image. None: it would enlarge the image, and has no `^` to allow that."""
    width, height = parameter.width, parameter.height
    if _is_own_size(parameter, image):
        return image
    if parameter.percent is not None:
        if parameter.percent > 100 and not parameter.upscale:  # noqa: PLR2004 (per cent)
            return None
        return _at_least_one(_scaled(image, float(parameter.percent) / 100))
    if width is not None and height is not None and parameter.confined:
        return _at_least_one(_scaled(image, min(width / image.width, height / image.height)))
    if not parameter.upscale and ((width or 0) > image.width or (height or 0) > image.height):
        return None
    # The free edge is cut off, not rounded, as iiif-net does.
    return _at_least_one(
        Size(
            width or image.width * (height or 0) // image.height,
            height or image.height * (width or 0) // image.width,
        )
    )


def size_to_ask(parameter: SizeParameter, image: Size) -> str:
    """Return what to ask an image server for.

    `!w,h` that the image fits in gives the image itself, but Cantaloupe answers 400 to it: ask for the own width.
    """
    return f"{image.width}," if parameter.confined and _is_own_size(parameter, image) else parameter.text


def is_size_asked(parameter: SizeParameter, image: Size, measured: Size) -> bool:
    """Return whether a picture of the measured size is what the parameter asks for.

    The edge that the parameter constrains must be exact; the other one may be a pixel off, since servers round in
    their own ways. Cantaloupe does it on an already reduced raster, where a pixel of the short edge is several of the
    long one: where a short edge is constrained in an image longer than 2:1, as many pixels are allowed.
    """
    expected = resolve(parameter, image)
    if expected is None or _is_own_size(parameter, image):
        return measured == expected
    width, height = parameter.width, parameter.height
    if parameter.percent is not None:
        scale = parameter.percent / 100
        return _close(measured.width, image.width * scale) and _close(measured.height, image.height * scale)
    if width is not None and height is not None and not parameter.confined:
        return measured == expected
    proportion = Fraction(image.height, image.width)
    by_width = measured.width == width and _is_free_edge(measured.height, measured.width, proportion)
    by_height = measured.height == height and _is_free_edge(measured.width, measured.height, 1 / proportion)
    fits = (width is None or measured.width <= width) and (height is None or measured.height <= height)
    return (by_width or by_height) and fits


def _is_free_edge(measured: int, constrained: int, proportion: Fraction) -> bool:
    return _close(measured, constrained * proportion, tolerance=max(1, ceil(proportion) - 1))


def _close(measured: int, exact: Fraction, *, tolerance: int = 1) -> bool:
    return floor(exact) - tolerance <= measured <= ceil(exact) + tolerance


def _is_own_size(parameter: SizeParameter, image: Size) -> bool:
    """Return whether the answer is the image itself: `max`, or `!w,h` (not `^!w,h`) that the image fits in."""
    if parameter.width is None and parameter.height is None:
        return parameter.percent is None
    fits = image.width <= (parameter.width or 0) and image.height <= (parameter.height or 0)
    return parameter.confined and not parameter.upscale and fits


def _scaled(image: Size, scale: float) -> Size:
    # Doubles and halves to even on purpose: iiif-net computes so, and readers expect its sizes.
    return Size(round(image.width * scale), round(image.height * scale))


def _at_least_one(size: Size) -> Size:
    return Size(max(1, size.width), max(1, size.height))
