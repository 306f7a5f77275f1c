"""The settings of the image server: one frozen record, filled by the command line or by a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """The server's settings. In the limits of pixels and scale 0 means that there is none.

    `max_pixels` and `max_scale` are about the picture that is asked for, as in Cantaloupe; `max_source_pixels` about
    the one that is read. `pixels_in_flight` bounds memory: decoded pixels of all decodes that run at the same time, of
    JPEG 2000 three times as many; 0: those that fit into an eighth of what the machine has. A larger picture runs
    alone, if it fits into that.

    `hosts` are names by which it is reached in addition to the loopback's, `viewers` the origins of pages that may show
    its pictures (`front_door.py`).

    `like_cantaloupe`: it reads, refuses and fails as Cantaloupe 5.0.6 does (`cantaloupe.py`), for tests of its clients;
    without `jp2_decoder` as one whose `opj_decompress` is missing, with `caching` as one with all caches on.
    """

    s3_endpoint: str | None = None
    path_roots: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    viewers: tuple[str, ...] = ()
    max_pixels: int = 25_000_000  # as deploy/cantaloupe has it
    max_scale: float = 0.0
    max_source_pixels: int = 500_000_000
    pixels_in_flight: int = 0
    source_cache_bytes: int = 2**30
    workers: int = 2
    request_log: Path | None = None
    like_cantaloupe: bool = False
    jp2_decoder: bool = True
    caching: bool = False
