"""What goes to a process that reads pictures, and what comes back from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcs_assets.domain.picture_limits import PictureLimits


@dataclass(frozen=True, slots=True)
class Request:
    """A task of `tasks.py` with its arguments. `budget` is the folder of the memory that all processes share."""

    task: Callable[..., Any]
    arguments: tuple[Any, ...]
    limits: PictureLimits
    budget: Path


@dataclass(frozen=True, slots=True)
class Done:
    """What a task returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """The parts of the PermanentError that a task raised."""

    code: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The traceback of a fault of ours."""

    trace: str
