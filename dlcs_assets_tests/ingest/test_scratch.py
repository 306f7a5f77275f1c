from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dlcs_assets.ingest.scratch import clear_ended, clear_scratch, folder_name
from dlcs_assets.ledger.records import new_id

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)


def set_age(path: Path, age: timedelta) -> None:
    moment = (NOW - age).timestamp()
    os.utime(path, (moment, moment), follow_symlinks=False)


def make_folder(scratch: Path, name: str, *, age: timedelta = timedelta(days=2)) -> Path:
    """Return a folder as a killed run leaves it, in which nothing changed for so long."""
    folder = scratch / name
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "original").write_bytes(b"x")
    for path in (folder / "deeper" / "original", folder / "deeper", folder):
        set_age(path, age)
    return folder


def test_a_folder_left_by_a_killed_run_is_removed_with_its_files(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, f"{new_id()}-{new_id()[-8:]}")
    assert clear_scratch(tmp_path, set(), before=YESTERDAY, dry_run=True) == {"folders": 1}
    assert folder.exists()
    assert clear_scratch(tmp_path, set(), before=YESTERDAY) == {"folders": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_deleted_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one of another user: each night the step would end there."""
    folders = [make_folder(tmp_path, f"{new_id()}-{new_id()[-8:]}") for _ in range(3)]
    stays = next(tmp_path.iterdir())
    delete = shutil.rmtree

    def refuse(folder: Path) -> None:
        if folder == stays:
            raise PermissionError(errno.EACCES, "not yours", str(folder))
        delete(folder)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OSError, match="1 of 3 folders stay"):
        clear_scratch(tmp_path, set(), before=YESTERDAY)
    assert [folder for folder in folders if folder.exists()] == [stays]


def test_a_folder_of_a_request_held_by_a_run_is_kept(tmp_path: Path) -> None:
    request = new_id()
    make_folder(tmp_path, f"{request}-{new_id()[-8:]}")
    assert clear_scratch(tmp_path, {request}, before=YESTERDAY) == {"folders": 0}


@pytest.mark.parametrize("changed", ["", "deeper", "deeper/original"])
def test_a_folder_in_which_anything_changed_recently_is_kept(tmp_path: Path, changed: str) -> None:
    folder = make_folder(tmp_path, f"{new_id()}-{new_id()[-8:]}")
    set_age(folder / changed, timedelta(hours=1))
    assert clear_scratch(tmp_path, set(), before=YESTERDAY) == {"folders": 0}


@pytest.mark.parametrize("name", ["appetiser", "2024-05-04", f"{'0' * 32}", f"{'0' * 32}-{'0' * 8}.part"])
def test_folders_with_other_names_are_kept(tmp_path: Path, name: str) -> None:
    make_folder(tmp_path, name)
    assert clear_scratch(tmp_path, set(), before=YESTERDAY) == {"folders": 0}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = make_folder(tmp_path, "elsewhere")
    (tmp_path / f"{new_id()}-{new_id()[-8:]}").symlink_to(elsewhere)
    assert clear_scratch(tmp_path, set(), before=NOW) == {"folders": 0}


def test_a_missing_scratch_folder_is_not_an_error(tmp_path: Path) -> None:
    assert clear_scratch(tmp_path / "missing", set(), before=NOW) == {"folders": 0}


def test_only_the_folder_of_an_ended_claim_is_removed(tmp_path: Path) -> None:
    """It is removed at once, whatever its age; the folder of a claim that is alive must stay."""
    request, dead, alive = new_id(), f"{'0' * 24}00000001", f"{'0' * 24}00000002"
    for token in (dead, alive):
        make_folder(tmp_path, folder_name(request, token), age=timedelta(0))

    def ended(asked: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        return {work for work in asked if work == (request, "00000001")}

    assert clear_ended(tmp_path, ended) == 1
    assert [path.name for path in tmp_path.iterdir()] == [folder_name(request, alive)]


def test_the_ledger_is_not_queried_for_an_empty_scratch_folder(tmp_path: Path) -> None:
    assert clear_ended(tmp_path, lambda _: pytest.fail("asked")) == 0
