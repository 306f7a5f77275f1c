"""What goes to a worker process, and what comes back from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlcs_stack.appetiser.models import Optimisation


@dataclass(frozen=True)
class Job:
    """What a worker gets. `work_dir` is an empty folder next to the destination, which the caller removes.

    Without `destination` no JP2 is made, without `thumb_dir` no thumbnails. `pixels_that_fit` are those for which the
    machine has memory. `faults`: with those of Appetiser itself, `broken_encoder`: without its encoder.
    """

    source: Path
    destination: Path | None
    thumb_dir: Path | None
    sizes: tuple[str, ...]
    optimisation: Optimisation
    work_dir: Path
    max_pixels: int
    pixels_that_fit: int
    kakadu: Path | None
    faults: bool = False
    broken_encoder: bool = False


@dataclass(frozen=True)
class ThumbFile:
    """A thumbnail as written, in pixels."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Converted:
    """What a conversion gave: the size of the JP2 in pixels, or of the source upright where none was asked for."""

    width: int
    height: int
    thumbs: tuple[ThumbFile, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Weighed:
    """The worker is about to decode this many pixels, and waits for leave."""

    pixels: int


@dataclass(frozen=True)
class Refused:
    """The job cannot be done, for this reason."""

    detail: str
