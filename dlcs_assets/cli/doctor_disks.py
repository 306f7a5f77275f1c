"""Checks of `dlcs doctor` on folders: there is room to work in, and locks hold."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dlcs_assets.cli.doctor_finding import Check, Finding, fail, ok, warn
from dlcs_assets.cli.output import shown_bytes
from dlcs_assets.settings import Settings

MIN_BYTES: Final = 2**30
BYTES_PER_IMAGE: Final = 2**30  # an original of some hundred megabytes, what becomes of it, and room to spare
_SLOTS_REMEDY: Final = "Choose a folder on a disk that honours flock with DLCS_SLOTS."


def check_scratch(settings: Settings) -> Iterator[Finding]:
    """Write into the scratch folder, and check how much room there is."""
    folder = settings.scratch.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-") as file:
            file.write(b"dlcs doctor")
            file.flush()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield fail("scratch", f"{folder}: {error.strerror}", "Make it writable, or choose another with DLCS_SCRATCH.")
        return
    yield judge_room(folder, free, settings.images_in_flight)


def judge_room(folder: Path, free: int, images_in_flight: int) -> Finding:
    """Compare the room in the scratch folder with what the images in progress may take."""
    found = f"{shown_bytes(free)} free in {folder}"
    remedy = "Use a larger disk, or lower DLCS_IMAGES_IN_FLIGHT."
    if free < MIN_BYTES:
        return fail("scratch", found, remedy)
    if free < images_in_flight * BYTES_PER_IMAGE:
        return warn("scratch", f"{found}, for {images_in_flight} images in progress at a time", remedy)
    return ok("scratch", found)


def check_slots(settings: Settings) -> Iterator[Finding]:
    """Take a lock in the folder of locks, and check that no one else gets it."""
    folder = settings.slots.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-") as mine, Path(mine.name).open("r+b") as theirs:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield ok("slots", f"locks hold in {folder}")
            else:
                yield fail("slots", f"locks do not hold in {folder}: runs would not share their limits", _SLOTS_REMEDY)
    except OSError as error:
        yield fail("slots", f"{folder}: {error.strerror}", _SLOTS_REMEDY)


CHECKS: Final[tuple[Check, ...]] = (check_scratch, check_slots)
