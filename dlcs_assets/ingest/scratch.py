"""Folders in the scratch folder: one for each attempt at an image, and those that killed runs left behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path

# Of a request and the end of its claim's token. Nothing else is touched.
FOLDER = re.compile(r"(?P<request>[0-9a-f]{32})-(?P<token>[0-9a-f]{8})")
TOKEN_DIGITS = 8


def folder_name(request_id: str, token: str) -> str:
    """Name the folder in which the claim's run works on the request."""
    return f"{request_id}-{token[-TOKEN_DIGITS:]}"


def clear_scratch(
    scratch: Path, claimed: AbstractSet[str], *, before: datetime, dry_run: bool = False
) -> dict[str, int]:
    """Delete the folders of requests that no run holds and in which nothing changed since; return how many.

    Raises OSError, once all others are deleted, if one could not be.
    """
    left = [folder for folder in _folders(scratch) if _request(folder) not in claimed and _changed(folder) < before]
    errors: list[OSError] = []
    for folder in () if dry_run else left:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            errors.append(error)
    if errors:
        raise OSError(errors[0].errno, f"{len(errors)} of {len(left)} folders stay, the first one: {errors[0]}")
    return {"folders": len(left)}


def clear_ended(scratch: Path, ended: Callable[[Collection[tuple[str, str]]], AbstractSet[tuple[str, str]]]) -> int:
    """Delete the folders of claims that have ended, however new they are; return how many.

    `ended` returns those among (request, end of the token) that have ended. It is called after the folders were listed,
    so that no claim is younger than its folder.
    """
    folders = {(_request(folder), folder.name.rpartition("-")[2]): folder for folder in _folders(scratch)}
    gone = ended(folders) if folders else frozenset()
    for work in gone:
        # The run may be deleting it, too, having ended its claim a moment ago.
        shutil.rmtree(folders[work], ignore_errors=True)
    return len(gone)


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
