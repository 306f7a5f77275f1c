from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from dlcs_stack import data_folder
from dlcs_stack.data_folder import NoStackError, StackRefusedError, StackState, claimed, read_state, write_state
from dlcs_testing.processes import eventually

STATE = StackState(pid=1, services={}, environment={"DLCS_UI_URL": "http://127.0.0.1:3000"})


def test_a_claimed_folder_is_created_empty(tmp_path: Path) -> None:
    with claimed(tmp_path / "deep" / "stack") as folder:
        assert [each.name for each in folder.iterdir()] == [".dlcs-stack"]


def test_what_an_earlier_stack_left_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    with claimed(tmp_path / "stack") as folder:
        (folder / "ledger.db").touch()
        (folder / "dagster").mkdir()
        (folder / "dagster" / "runs.db").touch()
        (folder / "link").symlink_to(outside)
    with claimed(folder):
        assert [each.name for each in folder.iterdir()] == [".dlcs-stack"]
    assert (outside / "kept").exists()


def test_no_one_else_can_read_a_folder_or_what_is_in_it(tmp_path: Path) -> None:
    """Also if it was there before, with wider rights, and whatever the umask is."""
    before = os.umask(0)
    try:
        with claimed(tmp_path / "deep" / "stack") as folder:
            folder.chmod(0o777)
            (folder / ".dlcs-stack").chmod(0o666)
        with claimed(folder):
            write_state(folder, STATE)
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, *folder.iterdir())
            }
    finally:
        os.umask(before)
    assert modes == {"deep": 0o700, "stack": 0o700, ".dlcs-stack": 0o600, "stack.json": 0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner could read all that a stack writes there, whatever the modes of the files are."""
    os.chown(tmp_path, 65534, -1)
    with pytest.raises(StackRefusedError, match="belongs to another user"), claimed(tmp_path):
        pytest.fail("it was claimed")


def test_a_folder_with_foreign_files_is_refused_and_not_changed(tmp_path: Path) -> None:
    """A mistyped --data must not cost anyone the files in that folder."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StackRefusedError, match="not made by a stack"), claimed(tmp_path):
        pytest.fail("it was claimed")
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_stack_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """It must not clear the folder of the first, whose files stay."""
    with claimed(tmp_path / "stack") as folder:
        (folder / "ledger.db").touch()
        with pytest.raises(StackRefusedError, match="A stack is up"), claimed(folder):
            pytest.fail("it was claimed twice")
        assert (folder / "ledger.db").exists()


def test_the_state_of_a_stack_that_is_up_is_read_back(tmp_path: Path) -> None:
    with claimed(tmp_path) as folder:
        write_state(folder, STATE)
        assert read_state(tmp_path) == STATE


def test_a_stack_that_is_still_starting_is_not_up_yet(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(NoStackError, match="starting or stopping"):
        read_state(tmp_path)


@pytest.mark.parametrize("folder", ["never", "stopped"])
def test_without_a_stack_there_is_no_state(tmp_path: Path, folder: str) -> None:
    with claimed(tmp_path / "stopped") as stopped:
        write_state(stopped, STATE)
    with pytest.raises(NoStackError, match=r"No stack is up in .*Start one: dlcs up"):
        read_state(tmp_path / folder)


def test_a_killed_stack_has_no_state_and_its_folder_is_free(tmp_path: Path) -> None:
    """Commands must not go to services that are gone, and dlcs up works again."""
    script = """
        import sys, time
        from pathlib import Path
        from dlcs_stack.data_folder import StackState, claimed, write_state
        with claimed(Path(sys.argv[1])) as folder:
            write_state(folder, StackState(1, {}, {}))
            time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]) as holder:
        assert eventually((tmp_path / "stack.json").exists)
        assert read_state(tmp_path) == StackState(1, {}, {})
        holder.kill()
    assert (tmp_path / "stack.json").exists()
    with pytest.raises(NoStackError):
        read_state(tmp_path)
    with claimed(tmp_path):
        assert not (tmp_path / "stack.json").exists()


def test_a_new_stack_waits_for_what_a_killed_one_left_running(tmp_path: Path) -> None:
    with claimed(tmp_path) as folder:
        pass
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"]) as leftover:
        write_state(folder, StackState(1, {"daemon": leftover.pid}, {}))
        with ThreadPoolExecutor(1) as reaper:
            ended = reaper.submit(leftover.wait)
            with claimed(folder):
                assert ended.result(timeout=0) == 0


def test_the_wait_for_remaining_processes_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "LEFTOVERS_TIMEOUT", timedelta(milliseconds=100))
    with claimed(tmp_path) as folder:
        pass
    write_state(folder, StackState(1, {"daemon": os.getpid()}, {}))
    with claimed(folder):
        assert not (folder / "stack.json").exists()
