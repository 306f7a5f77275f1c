"""A task for a process that reads pictures, which takes no time of the processor and does not end."""

from __future__ import annotations

import threading

from dlcs_assets.pictures.demands import Gate


def wait(_gate: Gate) -> None:
    threading.Event().wait()
