from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from dlcs_assets.cli import make_app

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
ALL = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined] # the app is a group
COMMANDS = {name: command for name, command in ALL.items() if not command.hidden}


def section(command: str) -> str:
    return DOCUMENT.read_text().partition(f"\n## dlcs {command}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented_with_all_its_options(command: str) -> None:
    """An option that was added without a line in docs/cli.md fails here."""
    text = section(command)
    assert text, f"docs/cli.md has no section for {command}"
    parts = getattr(COMMANDS[command], "commands", {})
    assert [name for name in parts if f"`dlcs {command} {name}`" not in text] == []
    described = [COMMANDS[command], *parts.values()]
    shown = [option for each in described for option in each.params if not getattr(option, "hidden", False)]
    options = [name for option in shown for name in option.opts if name.startswith("--")]
    assert [name for name in options if f"`{name}" not in text] == []


def test_no_command_is_documented_that_does_not_exist() -> None:
    named = [line.removeprefix("## dlcs ") for line in DOCUMENT.read_text().splitlines() if line.startswith("## dlcs ")]
    assert sorted(named) == sorted(COMMANDS)
