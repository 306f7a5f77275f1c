"""The identity of a process, by which another one on the same machine knows whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_DEAD: Final = frozenset("ZX")  # states of processes that have ended and were not yet waited for


def this_process() -> str:
    """Return machine, number and start of this process: no other process, anywhere, has the same."""
    return _identity(os.getpid()) or f"{os.uname().nodename} - {os.getpid()} -"


def is_dead(process: str) -> bool:
    """Return whether the process has certainly ended: False also if that cannot be known from here."""
    here, pid = _machine(), process.rpartition(" ")[0].rpartition(" ")[2]
    if here is None or not process.startswith(f"{here} ") or not pid.isdecimal():
        return False
    return _identity(int(pid)) != process


def _identity(pid: int) -> str | None:
    """Return the identity of a process that lives on this machine; None if there is none of that number."""
    here = _machine()
    try:
        # The name of the program, in parentheses, may hold anything.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        state, started = fields[0], fields[19]
    except (OSError, IndexError):
        return None
    return None if here is None or state in _DEAD else f"{here} {pid} {started}"


def _machine() -> str | None:
    """Return what processes have in common that can see each other: the start of the machine, and the container."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None
