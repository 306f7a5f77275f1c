"""The project's dagster.yaml, for tests that kill what starts runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dlcs_stack.stack import INSTANCE

USUAL: Final = "start_timeout_seconds: 180"


def impatient_instance(folder: Path, start_seconds: int) -> Path:
    """Write it with a shorter time for a run to start: one that was lost while it started is found so much sooner."""
    text = INSTANCE.read_text()
    assert USUAL in text
    path = folder / "dagster.yaml"
    path.write_text(text.replace(USUAL, f"start_timeout_seconds: {start_seconds}"))
    return path
