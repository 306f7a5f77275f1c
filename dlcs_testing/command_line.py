"""The command line in the process of the tests."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from dlcs_assets.cli import app_for


def dlcs(*arguments: str) -> Result:
    """Run a command as the program does. To build all the others, too, would take longer than most commands."""
    return CliRunner().invoke(app_for(arguments), list(arguments))
