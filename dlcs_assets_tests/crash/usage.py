"""What a running system takes of the machine: memory of its processes, and disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from dlcs_assets_tests.crash.world import World
from dlcs_stack.stack import Component
from dlcs_testing.stack_processes import daemon, of_service, resident_megabytes


def usage(world: World) -> dict[str, float]:
    """Return megabytes: resident memory by service, and what is in each folder of the stack."""
    used: dict[str, float] = {}
    for component in Component:
        if component is not Component.DAEMON:
            used[f"memory of {component}"] = _memory(partial(of_service, world.stack, component))
    # Not the runs: how many there are at this moment says nothing.
    used["memory of daemon"] = _memory(lambda: [daemon(world.stack)])
    data = world.stack.data
    for name in ("ledger.db", "dagster", "logs", "scratch"):
        used[f"disk of {name}"] = _size(data / name)
    return {name: round(megabytes, 1) for name, megabytes in used.items()}


def _memory(find: Callable[[], list[psutil.Process]]) -> float:
    with suppress(psutil.NoSuchProcess):  # it is just being restarted
        return sum(map(resident_megabytes, find()))
    return 0.0


def _size(path: Path) -> float:
    if path.is_file():
        return path.stat().st_size / 2**20
    total = 0
    for folder, _, names in os.walk(path):  # which leaves out what is deleted meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(f"{folder}/{name}").st_size
    return total / 2**20
