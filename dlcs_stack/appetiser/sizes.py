"""Thumbnail sizes: which are accepted, and what each means for an image. No pixels here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Final

_EDGE: Final = "0*[1-9][0-9]{0,8}"

# `^!w,h` is valid in a DLCS thumbnail policy; Appetiser itself refuses it, and with it the whole ingest.
SIZE_PATTERN: Final = rf"^(?:\^?!?{_EDGE},{_EDGE}|\^?{_EDGE},|\^?,{_EDGE})$"

_PARTS: Final = re.compile(r"(?P<upscale>\^?)(?P<confined>!?)(?P<width>[0-9]*),(?P<height>[0-9]*)")


def thumbnail_size(size: str, width: int, height: int) -> tuple[int, int] | None:
    """Return the pixels of a thumbnail of an image of `width` x `height`, or None where Appetiser drops the size.

    Without `^`, a size that does not make the image smaller is dropped, the image's own size included; of `w,h` an
    edge longer than the image's is cut to it. Edges are rounded half to even, as Appetiser rounds, and are at least 1.
    `size` matches `SIZE_PATTERN`.
    """
    parts = _PARTS.fullmatch(size)
    if parts is None:
        raise ValueError(f"not a thumbnail size: {size}")
    upscale = bool(parts["upscale"])
    wanted_width = int(parts["width"]) if parts["width"] else None
    wanted_height = int(parts["height"]) if parts["height"] else None
    enlarges = (wanted_width is None or wanted_width >= width) and (wanted_height is None or wanted_height >= height)
    if enlarges and not upscale:
        return None
    if wanted_width is not None and wanted_height is not None and not parts["confined"]:
        return (wanted_width, wanted_height) if upscale else (min(wanted_width, width), min(wanted_height, height))
    scales = [Fraction(wanted, actual) for wanted, actual in ((wanted_width, width), (wanted_height, height)) if wanted]
    scale = min(scales)
    return max(1, round(width * scale)), max(1, round(height * scale))


def thumbnail_sizes(
    sizes: Iterable[str],
    width: int,
    height: int,
    rule: Callable[[str, int, int], tuple[int, int] | None] = thumbnail_size,
) -> list[tuple[int, int]]:
    """Return the different thumbnails of an image, widest first. `rule` returns the pixels of one."""
    found = (rule(size, width, height) for size in sizes)
    return sorted(dict.fromkeys(size for size in found if size), key=lambda size: -size[0])
