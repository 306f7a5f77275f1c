"""`dlcs up` and `dlcs demo` respect what the environment says of the stack's own settings, or refuse it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import Result

from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.given_settings import REFUSED, REPLACED, RESPECTED, given_settings
from dlcs_assets.ledger import Ledger
from dlcs_stack.aws import CREDENTIALS
from dlcs_stack.data_folder import read_state
from dlcs_stack.stack import Component, Stack
from dlcs_testing.command_line import dlcs
from dlcs_testing.postgresql import Server
from dlcs_testing.waiting import eventually

DLCS = str(Path(sys.executable).with_name("dlcs"))


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("DLCS_", "AWS_", "DAGSTER_"))]:
        monkeypatch.delenv(name)


def up(folder: Path, *options: str) -> Result:
    return dlcs("up", "--data", str(folder), *options)


@contextmanager
def stack_up(folder: Path, *options: str, until: str = "Ctrl-C", **environment: str) -> Iterator[str]:
    """Start `dlcs up` as a user does; yield what it prints up to the line with this, its last one once it is up."""
    with subprocess.Popen(
        [DLCS, "up", "--data", str(folder), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            assert process.stdout
            shown = ""
            for line in process.stdout:
                shown += line
                if until in line:
                    break
            yield shown
        finally:
            process.terminate()
            process.wait(60)


def test_each_setting_of_the_stack_is_respected_refused_or_named(tmp_path: Path) -> None:
    """One that is added to the stack has to be put into one of the lists: none is replaced in silence."""
    own = Stack(tmp_path)._environment(tmp_path, {})
    decided = RESPECTED | REFUSED | REPLACED
    assert {name for name in own if not name.startswith("AWS_")} <= decided
    assert decided - own.keys() == {"DLCS_IMAGE_SERVER_SOURCES"}  # an option of the command is for it


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("command", ["up", "demo"])
def test_queues_and_buckets_of_ones_own_are_refused(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "https://sqs.eu-west-1.amazonaws.com/1/production")
    refused = dlcs(command, "--data", str(tmp_path))
    assert refused.exit_code == 1
    assert f"{name} cannot be used" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_respected_takes_the_place_of_the_stacks_own() -> None:
    environment = {
        "DLCS_LEDGER_URL": "postgresql://u:secret@db/ledger",
        "DLCS_SCRATCH": "fast/scratch",
        "DLCS_PRIVATE_NETWORKS": "10.1.0.0/16",
        "DLCS_UI_URL": "https://dagster.example.org",
        "AWS_PROFILE": "production",
        "DAGSTER_HOME": "/home/me/dagster",
    }
    given = given_settings(environment, {})
    assert given.settings == {
        "DLCS_LEDGER_URL": "postgresql://u:secret@db/ledger",
        "DLCS_SCRATCH": str(Path("fast/scratch").absolute()),
        "DLCS_PRIVATE_NETWORKS": "10.1.0.0/16,127.0.0.0/8",
        "DLCS_UI_URL": "https://dagster.example.org",
    }
    shown = "\n".join(given.remarks)
    assert "postgresql://db/ledger" in shown
    assert "secret" not in shown
    assert "AWS_PROFILE, DAGSTER_HOME: the embedded stack has its own" in shown


@pytest.mark.parametrize(
    ("environment", "shared_disk", "named"),
    [
        ({"DLCS_IMAGE_SERVER_KIND": "cantaloupe"}, False, "set DLCS_IMAGE_SERVER_URL to one of that kind"),
        ({"DLCS_IMAGE_SERVER_SOURCES": "s3"}, True, "leave --shared-disk out"),
    ],
)
def test_what_contradicts_the_stack_is_refused(environment: dict[str, str], shared_disk: bool, named: str) -> None:
    with pytest.raises(CommandError, match=named):
        given_settings(environment, {}, shared_disk=shared_disk)


def test_what_dlcs_env_exported_is_named_and_not_used() -> None:
    environment = {**CREDENTIALS, "DLCS_LEDGER_URL": "sqlite:////x/ledger.db", "DLCS_INGEST_QUEUE_URL": "http://x"}
    given = given_settings(environment, {Component.APPETISER: 1})
    assert given.settings == {}
    (remark,) = given.remarks
    assert "DLCS_INGEST_QUEUE_URL, DLCS_LEDGER_URL: this shell has what `dlcs env` exported" in remark


def test_a_value_that_cannot_be_used_is_refused_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCS_CHUNK_SIZE", "many")
    refused = up(tmp_path / "stack", "--services-only")
    assert refused.exit_code == 1
    assert "DLCS_CHUNK_SIZE: Input should be a valid integer" in refused.stderr


def test_a_start_names_what_is_wrong_with_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable, and a mistake in the customers file; ledger and folder for scratch are the user's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dlcs.yaml").write_text("customers: [2]\n")
    ledger_url = f"sqlite:///{tmp_path / 'mine.db'}"
    given = {"DLCS_SCRTCH": "x", "DLCS_SCRATCH": "mine/scratch", "DLCS_LEDGER_URL": ledger_url}
    with stack_up(tmp_path / "stack", "--services-only", **given) as shown:
        environment = read_state(tmp_path / "stack").environment
        assert "DLCS_SCRTCH is set, and there is no such setting: it has no effect. Did you mean DLCS_SCRATCH?" in shown
        assert "mistake" in shown
        assert "line 1: customers: is a list" in shown
        assert environment["DLCS_SCRATCH"] == str(tmp_path / "mine" / "scratch")
        assert environment["DLCS_LEDGER_URL"] == given["DLCS_LEDGER_URL"]
        assert (tmp_path / "mine" / "scratch").is_dir()
        assert not (tmp_path / "stack" / "scratch").exists()


@pytest.mark.e2e
def test_a_stack_owns_its_ledger_again_and_others_are_refused(
    postgresql_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is decided before the services start, which another test waits for."""
    url = postgresql_server.new_database()
    monkeypatch.setenv("DLCS_LEDGER_URL", url)
    owners: set[str] = set()
    with closing(Ledger(url)) as ledger:
        for _ in range(2):
            with stack_up(tmp_path / "one", until="which is not emptied"):
                owner = eventually(
                    ledger.ownership.current, lambda found: found is not None and found.instance_id not in owners
                )
                assert owner is not None
                assert owner.name.endswith(str(tmp_path / "one" / "dagster"))
                owners.add(owner.instance_id)
                refused = up(tmp_path / "two")
                assert refused.exit_code == 1
                assert f"This ledger belongs to Dagster instance {owner.instance_id}" in refused.stderr
                assert "dlcs ledger take-over" in refused.stderr
