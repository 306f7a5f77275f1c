"""How much memory and time a process may take for one picture: a bomb, or a decoder gone astray, costs that one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Address space, not what is in use: libraries and threads take a good part of it. Decoders hold up to some 4 bytes of
# 4 samples a few times over.
MEMORY: Final = 3 * 2**30
MEMORY_PER_PIXEL: Final = 64
# Of the processor. A page of 24 megapixels takes about 5 s.
SECONDS: Final = 60
SECONDS_PER_MEGAPIXEL: Final = 4


@contextmanager
def limited(pixels: int, *, memory: int = MEMORY, seconds: float = SECONDS) -> Iterator[None]:
    """Limit this process while it works on a picture of this many pixels.

    What does not fit into memory raises MemoryError; what takes longer ends the process (SIGXCPU).
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)}
    _lower(resource.RLIMIT_AS, memory + MEMORY_PER_PIXEL * pixels)
    _lower(resource.RLIMIT_CPU, int(used + seconds + SECONDS_PER_MEGAPIXEL * pixels / 10**6) + 1)
    try:
        yield
    finally:
        for kind, limits in before.items():
            resource.setrlimit(kind, limits)


def _lower(kind: int, limit: int) -> None:
    soft, hard = resource.getrlimit(kind)
    bounds = [bound for bound in (limit, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(bounds), hard))
