"""What killed runs left behind in the scratch folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path

# Of a request and the end of its claim's token, as the pipeline names them. Nothing else is touched.
FOLDER = re.compile(r"(?P<request>[0-9a-f]{32})-[0-9a-f]{8}")


def clear_scratch(
    scratch: Path, claimed: AbstractSet[str], *, before: datetime, dry_run: bool = False
) -> dict[str, int]:
    """Delete the folders of requests that no run holds and in which nothing changed since; return how many."""
    left = [folder for folder in _folders(scratch) if _request(folder) not in claimed and _changed(folder) < before]
    if not dry_run:
        for folder in left:
            shutil.rmtree(folder)
    return {"folders": len(left)}


def _folders(scratch: Path) -> list[Path]:
    if not scratch.is_dir():
        return []
    return [
        path for path in scratch.iterdir() if FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def _request(folder: Path) -> str:
    return folder.name.partition("-")[0]


def _changed(folder: Path) -> datetime:
    """Return the time of the newest change in a folder. What vanishes meanwhile is being worked on: that is now."""
    try:
        newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return datetime.now(UTC)
    return datetime.fromtimestamp(newest, UTC)
