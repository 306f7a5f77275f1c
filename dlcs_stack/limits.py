"""How much memory and time a process may take for one picture: a bomb, or a decoder gone astray, costs that one.

What the machine has is divided: each service has a share, which all its processes together take at most, and no picture
is begun that would take more than that.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# For the interpreter, the libraries, and all that does not grow with the picture.
BASE_BYTES: Final = 512 * 2**20
# Of the processor. A page of 24 megapixels takes about 5 s, and on slow machines several times as long.
SECONDS: Final = 20
SECONDS_PER_MEGAPIXEL: Final = 2
_FIRST_TO_BE_KILLED: Final = "700"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def memory_share(share: float) -> int:
    """Return that share of the bytes that this machine, or the container that we are in, has."""
    hardware = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min((hardware, *_group_limits())) * share)


def _group_limits() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, and of those above them."""
    for line in _MEMBERSHIP.read_text().splitlines() if _MEMBERSHIP.exists() else ():
        _, controllers, group = line.split(":", 2)
        # Version 2 names no controllers. A container sees its own group at the top.
        top, name = (_CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (_CGROUPS, "memory.max")
        if not controllers or "memory" in controllers:
            for folder in (top, *((top / group.lstrip("/")).parents), top / group.lstrip("/")):
                with suppress(OSError, ValueError):  # no such group here, or "max"
                    yield int((folder / name).read_text())


def be_first_to_be_killed() -> None:
    """Have the kernel, if memory runs out all the same, end this process rather than what it works for."""
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, encoding="ascii")


@contextmanager
def limited(picture_bytes: int, pixels: int, *, base: int = BASE_BYTES, seconds: float = SECONDS) -> Iterator[None]:
    """Limit this process while it works on a picture of so many pixels, for which it may take so much memory.

    What does not fit into memory raises MemoryError; what takes longer ends the process (SIGXCPU).
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    # Data, and not address space: that counts files that are mapped, and what threads reserve and never use.
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)}
    _lower(resource.RLIMIT_DATA, base + picture_bytes)
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
