"""Where the commands look for the system, and what they say if it isn't there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlcs_assets.cli.connection import load_settings
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger import Ledger
from dlcs_assets_tests.cli.conftest import Desk
from dlcs_stack import data_folder
from dlcs_stack.data_folder import StackState
from dlcs_testing.command_line import dlcs


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with an environment that leads nowhere; put it back whatever a command changes."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DLCS_", "AWS_")):
            monkeypatch.delenv(name)
    for name in ("DLCS_LEDGER_URL", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def test_without_environment_the_stack_of_this_folder_is_used(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    url = f"sqlite:///{nowhere / 'elsewhere.db'}"
    ledger = Ledger(url)
    Desk(ledger).send("2/1/x")
    ledger.close()
    environment = {"DLCS_LEDGER_URL": url, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with data_folder.claimed(data_folder.DEFAULT_FOLDER) as folder:
        data_folder.write_state(folder, StackState(os.getpid(), {}, environment))
        done = dlcs("status", "--json")
    assert '"2/1/x"' in done.stdout
    assert done.stderr == ""
    assert "AWS_PROFILE" not in os.environ


def test_a_setting_in_the_shell_holds_in_place_of_the_stacks(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blank one counts as none; and Dagster is always the stack's."""
    environment = {
        "DLCS_LEDGER_URL": f"sqlite:///{nowhere / 'stack.db'}",
        "DLCS_CHUNK_SIZE": "10",
        "DLCS_ATTEMPTS": "7",
        "DAGSTER_HOME": "/stack",
    }
    for name, value in {"DLCS_CHUNK_SIZE": "33", "DLCS_ATTEMPTS": " ", "DAGSTER_HOME": "/mine"}.items():
        monkeypatch.setenv(name, value)
    with data_folder.claimed(data_folder.DEFAULT_FOLDER) as folder:
        data_folder.write_state(folder, StackState(os.getpid(), {}, environment))
        settings = load_settings()
    assert (settings.chunk_size, settings.attempts, os.environ["DAGSTER_HOME"]) == (33, 7, "/stack")


@pytest.mark.usefixtures("ledger")
def test_the_environment_of_the_user_comes_before_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with data_folder.claimed(data_folder.DEFAULT_FOLDER) as folder:
        data_folder.write_state(folder, StackState(os.getpid(), {}, {"DLCS_LEDGER_URL": "sqlite:////nowhere/x.db"}))
        assert dlcs("status").stdout == "0 images\n"


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    "arguments", [["status"], ["retry", "2/1/x"], ["rejected"], ["plan", "2/1/x"], ["ingest", "s3://b/k"]]
)
def test_without_stack_and_environment_a_command_creates_nothing(arguments: list[str]) -> None:
    """It says in one line what is missing, instead of creating an empty ledger in the current folder."""
    done = dlcs(*arguments)
    assert done.exit_code == 1
    assert "No stack is up" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("url", ["nonsense", "postgresql+nodriver://u:secret@h/d", "sqlite:////proc/nowhere/x.db"])
def test_an_unusable_ledger_is_one_line_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a traceback nor the URL as it was set may reach the terminal."""
    monkeypatch.setenv("DLCS_LEDGER_URL", url)
    done = dlcs("status")
    assert done.exit_code == 1
    assert "(DLCS_LEDGER_URL) cannot be used" in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_not_a_ledger_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("not a database, " * 100)
    monkeypatch.setenv("DLCS_LEDGER_URL", f"sqlite:///{tmp_path / 'notes.txt'}")
    done = dlcs("status")
    assert done.exit_code == 1
    assert "file is not a database" in done.stderr


@pytest.mark.usefixtures("ledger")
def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_CHUNK_SIZE", "many")
    done = dlcs("status")
    assert done.exit_code == 1
    assert "DLCS_CHUNK_SIZE" in done.stderr


def test_status_starts_without_dagster_and_boto3(ledger: Ledger) -> None:
    Desk(ledger).done("2/1/x")
    script = (
        "import sys; from typer.testing import CliRunner; from dlcs_assets.cli import make_app\n"
        "assert 'converted' in CliRunner().invoke(make_app(), ['status', '2/1/x']).stdout\n"
        "print([name for name in ('dagster', 'boto3', 'moto', 'PIL', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_command_imports_no_other_command(tmp_path: Path) -> None:
    """A person waits for its imports each time: those of all commands together take a second."""
    script = (
        "import sys; from dlcs_assets.cli import main\n"
        "sys.argv = ['dlcs', 'status', '--customer', '2']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('dlcs_assets.')))"
    )
    environment = {**os.environ, "DLCS_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    rooms = {name.split(".")[1] for name in ast.literal_eval(done.stdout.splitlines()[-1])}
    assert rooms <= {"cli", "database_errors", "domain", "ledger", "settings"}


def test_a_command_does_not_read_what_packages_say_of_themselves(tmp_path: Path) -> None:
    """Pydantic would look for plugins in the metadata of all that is installed."""
    script = (
        "import sys, importlib.metadata as metadata; from dlcs_assets.cli import main\n"
        "metadata.distributions = lambda **_: sys.exit('the metadata are read')\n"
        "sys.argv = ['dlcs', 'status']; main()"
    )
    environment = {**os.environ, "DLCS_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"}
    environment.pop("PYDANTIC_DISABLE_PLUGINS", None)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def without_the_extra(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has the modules of the extra `local` as little as a production install."""
    hidden = "import sys; sys.modules.update(dict.fromkeys(%r)); from dlcs_assets.cli import main; main()"
    script = hidden % (("moto", "flask", "numpy", "starlette", "uvicorn"),)
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("nowhere")
def test_up_without_its_extra_says_what_to_install() -> None:
    done = without_the_extra("up")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "pip install 'dlcs-assets[local]'" in done.stderr
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["usage"]])
def test_other_commands_work_without_the_stacks_extra(arguments: list[str]) -> None:
    done = without_the_extra(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["ingest", "plan"])
def test_a_command_without_its_arguments_shows_its_help(command: str) -> None:
    """The exit code says that it was wrong usage."""
    done = dlcs(command)
    assert done.exit_code == 2
    assert "Options:" in done.stdout + done.stderr


def test_output_in_a_pipe_is_plain_and_not_cut(desk: Desk) -> None:
    cause = "A very long reason [in brackets] " * 20
    desk.failed("2/1/x", PermanentError("odd", cause.strip(), remedy="None", stage=Stage.JP2))
    done = subprocess.run(
        [Path(sys.executable).with_name("dlcs"), "status"], capture_output=True, text=True, check=True
    )
    assert f"jp2: {cause.strip()} (odd). None\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
