"""What all commands have in common: version, help, completion, and commands that were renamed."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import typer.main

from dlcs_assets.cli import make_app
from dlcs_assets.domain.stages import Stage
from dlcs_assets_tests.cli.conftest import Desk
from dlcs_testing.command_line import dlcs

COMMANDS = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined] # the app is a group
WITHIN_BATCH = [("batch", name) for name in COMMANDS["batch"].commands]


def test_the_version_is_that_of_the_distribution() -> None:
    done = dlcs("--version")
    assert (done.exit_code, done.stdout) == (0, f"dlcs-assets {version('dlcs-assets')}\n")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), *WITHIN_BATCH], ids=" ".join)
def test_h_is_short_for_help_with_every_command(command: tuple[str, ...]) -> None:
    short, long = dlcs(*command, "-h"), dlcs(*command, "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "-h, --help" in short.stdout


def test_each_command_has_a_summary_that_fits_into_the_list() -> None:
    """A first sentence that is too long for a terminal of 80 columns is cut off with dots."""
    listed = dlcs("--help").stdout.partition("Commands:")[2]
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


def test_the_shell_can_complete_commands() -> None:
    assert "--install-completion" in dlcs("--help").stdout


@pytest.mark.parametrize("stale", ["--stale", "--outdated"])
def test_the_former_name_of_reprocess_works_and_names_the_new(desk: Desk, stale: str) -> None:
    desk.done("2/1/a")
    former = dlcs("rederive", "--customer", "2", stale, "--dry-run")
    new = dlcs("reprocess", "--customer", "2", "--stale", "--dry-run")
    assert (former.exit_code, former.stdout) == (0, new.stdout)
    assert (former.stderr, new.stderr) == ("`dlcs rederive` is now called `dlcs reprocess`.\n", "")
    assert "rederive" not in dlcs("--help").stdout


def test_reprocess_requests_the_chosen_stages(desk: Desk) -> None:
    desk.done("2/1/a")
    done = dlcs("reprocess", "--customer", "2", "--stage", Stage.THUMBNAILS, "--dry-run")
    assert done.stdout.startswith("1 image would be reprocessed: 1 thumbnails.")


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("options", [["--stage", "jp2"], ["--dry-run"]])
def test_reprocess_without_a_selection_is_refused(options: list[str]) -> None:
    done = dlcs("reprocess", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("No images selected. Use --customer,")
