"""What `pip install dlcs-assets[local]` gives: a wheel in an environment of its own, in a folder with nothing in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from dlcs_stack.supervisor import free_port
from dlcs_testing.pictures import jpeg

ROOT = Path(__file__).parents[2]
# Scripts of the dependencies, which the test's environment gets without being installed there.
SCRIPTS = {
    "dagster": "dagster._cli",
    "dagster-daemon": "dagster._daemon.cli",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment, which has the dependencies of this one; return its scripts' folder."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps"]
    subprocess.run([*install, "--python", str(python), str(wheel)], check=True, capture_output=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # A folder that a .pth file names is searched, but its own .pth files are not read: the checkout stays out.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for name, module in SCRIPTS.items():
        script = python.with_name(name)
        script.write_text(f'#!{python}\nfrom {module} import main\nif __name__ == "__main__":\n    main()\n')
        script.chmod(0o755)
    return python.parent


def clean_environment(scripts: Path, home: Path) -> dict[str, str]:
    return {"PATH": f"{scripts}:{os.defpath}", "HOME": str(home), "COLUMNS": "200"}


def test_the_wheel_has_what_the_code_reads(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        instance = archive.read("dlcs_stack/dagster.yaml")
    assert instance == (ROOT / "dagster.yaml").read_bytes()
    assert {"dlcs_assets/py.typed", "dlcs_stack/py.typed"} <= set(names)
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"dlcs_assets", "dlcs_stack"}


@pytest.mark.e2e
def test_dlcs_up_ingests_an_image_in_an_empty_folder(scripts: Path, tmp_path: Path) -> None:
    """Nothing that the wheel lacks may be read from a checkout."""
    environment = clean_environment(scripts, tmp_path)
    folder, picture = tmp_path / "empty", tmp_path / "page.jpg"
    folder.mkdir()
    picture.write_bytes(jpeg(320, 240))

    def dlcs(*arguments: object) -> str:
        command = [str(scripts / "dlcs"), *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    up_command = [str(scripts / "dlcs"), "up", "--ui-port", str(free_port())]
    with subprocess.Popen(up_command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as up:
        try:
            assert up.stdout is not None
            shown = []
            for line in up.stdout:
                shown.append(line)
                if "Ctrl-C" in line:
                    break
            assert up.poll() is None, "".join(shown)
            assert "2/1/page  done" in dlcs("ingest", picture, "--wait")
            (status,) = json.loads(dlcs("status", "--json"))
        finally:
            up.send_signal(signal.SIGINT)
        assert up.wait(30) == 0
    assert status["stages"] == {"original": "at its origin", "jp2": "converted", "thumbnails": "made"}
    assert [each.name for each in folder.iterdir()] == [".dlcs"]
