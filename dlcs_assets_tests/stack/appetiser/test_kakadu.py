"""A small `kdu_compress` on the PATH: it notes its arguments and writes a JP2, or misbehaves when asked for `-rate`."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from dlcs_stack.appetiser.app import AppetiserConfig
from dlcs_testing.appetiser_pictures import quarters, red_is_green_profile
from dlcs_testing.appetiser_service import Appetiser, served
from dlcs_testing.processes import eventually, is_running

_FAKE = """#!{python}
import json, os, signal, sys, time
from pathlib import Path
arguments = dict(zip(sys.argv[1::1], sys.argv[2::1]))
rate = arguments["-rate"]
if rate == "0.5":  # kdu_low: takes its parent along
    os.kill(os.getppid(), signal.SIGKILL)
if rate == "4":  # kdu_high: hangs
    Path("{notes}", "hanging").write_text(str(os.getpid()))
    time.sleep(600)
if rate == "2":  # kdu_med: fails
    print("Kakadu Core Error:", "not today", sep="\\n", file=sys.stderr)
    sys.exit(3)
from PIL import Image
source = Image.open(arguments["-i"])
Path("{notes}", "said.json").write_text(json.dumps({{
    "argv": sys.argv[1:], "mode": source.mode, "profile": "icc_profile" in source.info,
    "compression": source.info["compression"],
}}))
source.save(arguments["-o"], "JPEG2000")
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def kakadu_on_path(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "kdu_compress"
    fake.write_text(_FAKE.format(python=sys.executable, notes=notes))
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def kakadu(kakadu_on_path: None) -> Iterator[Appetiser]:  # noqa: ARG001 (fixtures are asked for by name)
    with served(AppetiserConfig(workers=2)) as service:
        yield service


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    quarters().save(path)
    return path


@pytest.mark.parametrize(("mode", "space"), [("RGB", ["-jp2_space", "sRGB"]), ("L", ["-no_palette"])])
def test_kakadu_is_used_if_installed_with_the_usual_parameters(
    kakadu: Appetiser, notes: Path, out: Path, mode: str, space: list[str]
) -> None:
    """They are those of Appetiser: a JP2 of the embedded stack must have the structure of a real one."""
    source = notes / "a.png"
    quarters().convert(mode).save(source)
    assert kakadu.convert(source, out / "o.jp2").size == (96, 64)
    said = json.loads((notes / "said.json").read_text())
    argv = said["argv"]
    assert argv[0:3:2] == ["-i", "-o"]
    assert argv[4:] == [
        "Clevels=7",
        "Cblk={64,64}",
        "Cuse_sop=yes",
        *space,
        "ORGgen_plt=yes",
        "ORGtparts=R",
        "Corder=RPCL",
        "-rate",
        "-",
        "Cprecincts={256,256},{256,256},{256,256},{128,128},{128,128},{64,64},{64,64},{32,32},{16,16}",
    ]
    assert (said["mode"], said["compression"]) == (mode, "raw")
    assert [path.name for path in out.iterdir()] == ["o.jp2"]
    assert kakadu.client.get("/config").json()["encoder"].endswith("/kdu_compress")


def test_a_profile_that_was_applied_is_not_given_to_kakadu_again(
    kakadu: Appetiser, notes: Path, out: Path, tmp_path: Path
) -> None:
    quarters().save(tmp_path / "a.tif", icc_profile=red_is_green_profile(), compression="tiff_lzw")
    assert kakadu.convert(tmp_path / "a.tif", out / "o.jp2").size == (96, 64)
    said = json.loads((notes / "said.json").read_text())
    assert (said["profile"], said["compression"]) == (False, "raw")


def test_a_failure_of_kakadu_is_reported_with_its_message(kakadu: Appetiser, source: Path, out: Path) -> None:
    answer = kakadu.convert(source, out / "o.jp2", optimisation="kdu_med")
    assert answer.status == 500
    assert answer.body["detail"] == "kdu_compress ended with status 3: Kakadu Core Error: not today."
    assert list(out.iterdir()) == []


def test_a_worker_that_is_killed_fails_its_own_job_only(kakadu: Appetiser, source: Path, out: Path) -> None:
    profiles = ["kdu_low", "kdu_max"] * 4
    with ThreadPoolExecutor(len(profiles)) as threads:
        answers = list(
            threads.map(
                lambda numbered: kakadu.convert(source, out / f"{numbered[0]}.jp2", optimisation=numbered[1]),
                enumerate(profiles),
            )
        )
    assert [answer.status for answer in answers] == [500, 200] * 4
    assert {answer.body["detail"] for answer in answers[::2]} == {
        "The worker died by signal 9 while it converted this image."
    }
    assert sorted(path.name for path in out.iterdir()) == ["1.jp2", "3.jp2", "5.jp2", "7.jp2"]


@pytest.mark.usefixtures("kakadu_on_path")
def test_a_conversion_that_hangs_ends_with_all_its_processes(source: Path, out: Path, notes: Path) -> None:
    with served(AppetiserConfig(workers=1, time_limit=timedelta(seconds=6))) as service:
        answer = service.convert(source, out / "o.jp2", optimisation="kdu_high")
        assert answer.status == 500
        assert answer.body["detail"] == "The conversion was given up after 6 seconds."
        hanging = int((notes / "hanging").read_text())
        assert eventually(lambda: not is_running(hanging))  # killed, it takes a moment to be gone
        assert list(out.iterdir()) == []
        assert service.convert(source, None, out, operation="derivatives-only", sizes=["48,"]).thumbs == [(48, 32)]
