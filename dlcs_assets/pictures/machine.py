"""How much memory this machine has for us: that of its hardware, or of the container or service that we are in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def machine_memory_bytes(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return the bytes of memory that this process and all others of its machine or container may use."""
    hardware = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min((hardware, *_cgroup_limits(cgroups, membership)))


def _cgroup_limits(cgroups: Path, membership: Path) -> Iterator[int]:
    """Yield the limits of the groups that this process is in, and of those above them, of versions 1 and 2."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        # A container sees its own group at the top, under the name that it has outside.
        parts = Path(group.lstrip("/")).parts
        for depth in range(len(parts) + 1):
            try:
                yield int((top.joinpath(*parts[:depth]) / name).read_text())
            except (OSError, ValueError):  # no such group here, or "max"
                continue
