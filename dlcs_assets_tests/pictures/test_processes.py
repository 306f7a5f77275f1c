"""Decoders that go astray: each costs the picture that it was given, with a reason, and the next one is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dlcs_assets.clients.file_semaphore import FileBudget
from dlcs_assets.domain.errors import IngestError, PermanentError, TransientError
from dlcs_assets.domain.picture_limits import Demand, PictureLimits
from dlcs_assets.pictures.demands import Gate
from dlcs_assets.pictures.machine import machine_memory_bytes
from dlcs_assets.pictures.processes import PictureReader, ReaderProcesses, picture_limits
from dlcs_assets.pictures.requests import Done, Request
from dlcs_assets.pictures.tasks import inspect
from dlcs_assets.settings import Settings
from dlcs_testing.pictures import jpeg
from dlcs_testing.processes import eventually

LIMITS = PictureLimits(memory_bytes=2**27, seconds=0)


def takes_memory(_gate: Gate, count: int) -> int:
    return len(bytearray(count))


def takes_what_it_said(gate: Gate, count: int) -> int:
    gate.let_in(Demand(10, 10, memory_bytes=count), 100)
    return len(bytearray(count))


def never_ends(_gate: Gate) -> None:
    while True:
        pass


def dies(_gate: Gate, number: int) -> None:
    os.kill(os.getpid(), number)


def own_process(_gate: Gate) -> int:
    return os.getpid()


def has_a_bug(_gate: Gate) -> None:
    raise KeyError("a bug")


@pytest.fixture
def reader(tmp_path: Path) -> PictureReader:
    return PictureReader(LIMITS, tmp_path / "budget")


def refusal(call: Callable[[], object]) -> IngestError:
    with pytest.raises(IngestError) as caught:
        call()
    return caught.value


def test_a_decoder_gone_astray_costs_its_own_picture(reader: PictureReader, tmp_path: Path) -> None:
    found = [
        refusal(lambda: reader.run(takes_memory, 10**9)),
        refusal(lambda: reader.run(never_ends)),
        refusal(lambda: reader.run(dies, signal.SIGSEGV)),
        refusal(lambda: reader.run(dies, signal.SIGKILL)),
    ]
    assert [(each.code, type(each)) for each in found] == [
        ("too_much_memory", PermanentError),
        ("too_much_time", PermanentError),
        ("decoder_died", PermanentError),
        ("decoder_killed", TransientError),
    ]
    assert all(each.remedy for each in found)
    (tmp_path / "next.jpg").write_bytes(jpeg(60, 40))
    assert reader.run(inspect, tmp_path / "next.jpg").width == 60


def test_a_bug_of_ours_is_no_fault_of_the_picture(reader: PictureReader) -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        reader.run(has_a_bug)


def test_what_its_header_accounts_for_may_be_taken(reader: PictureReader) -> None:
    assert reader.run(takes_what_it_said, 2**27) == 2**27
    assert refusal(lambda: reader.run(takes_what_it_said, 2**27 + 1)).code == "too_much_memory"


def test_a_picture_waits_until_others_leave_it_memory(reader: PictureReader) -> None:
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(reader.run(takes_what_it_said, 2**27)))
    with FileBudget(reader.budget, 4).acquire(1):  # as a process of another run holds it
        thread.start()
        thread.join(0.5)
        assert done == []
    thread.join(30)
    assert done == [2**27]


def test_processes_that_began_with_the_run_are_those_that_read(reader: PictureReader) -> None:
    readers = ReaderProcesses(2)
    try:
        readers.start(1)
        (first,) = readers._all
        assert readers.ask(Request(own_process, (), LIMITS, reader.budget)) == Done(first._process.pid)
        readers.start(9)
        assert len(readers._all) == 2
    finally:
        readers.close()


def test_a_process_ends_with_its_run_in_the_middle_of_a_picture(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from dlcs_assets.domain.picture_limits import PictureLimits\n"
        "from dlcs_assets.pictures.processes import PictureReader\n"
        "from dlcs_assets_tests.pictures.never_ending import wait\n"
        f"PictureReader(PictureLimits(), Path({str(tmp_path)!r})).run(wait)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert eventually(lambda: len(psutil.Process(run.pid).children()) == 1)
        (child,) = psutil.Process(run.pid).children()
    finally:
        run.kill()
        run.wait()
    assert eventually(lambda: not child.is_running())


def test_memory_is_that_of_the_control_group(tmp_path: Path) -> None:
    def memory(membership: str, files: dict[str, str]) -> int:
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return machine_memory_bytes(tmp_path, tmp_path / "membership")

    hardware = memory("0::/\n", {"memory.max": "max\n"})
    assert hardware > 2**28
    assert memory("0::/ecs/task\n", {"memory.max": "1000000\n"}) == 10**6, "as a container sees it"
    assert memory("0::/a/b\n", {"memory.max": "max\n", "a/memory.max": "2000000\n"}) == 2 * 10**6
    first = {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/x/memory.limit_in_bytes": "3000000\n"}
    assert memory("4:cpu,memory:/x\n", first) == 3 * 10**6


def test_limits_come_from_the_settings_and_the_machine() -> None:
    default = picture_limits(Settings())
    assert default.memory_bytes == max(2**28, machine_memory_bytes() // 8)
    own = Settings(max_pixels=1, max_frames=2, max_parts=3, max_components=4, decoder_memory=2**26)
    assert picture_limits(own) == PictureLimits(1, 2, 3, 4, 2**26)
