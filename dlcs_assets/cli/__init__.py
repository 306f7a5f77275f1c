"""The command `dlcs`: one module for each command, put together here.

Only the module of the command that is called is imported: a person waits for it each time.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Final

import typer

from dlcs_assets.cli.failure import Commands
from dlcs_assets.cli.output import echo


@dataclass(frozen=True, slots=True)
class _Command:
    """Where a command is. `needs_arguments`: without any it shows its help; a group has commands of its own."""

    module: str
    function: str
    needs_arguments: bool = False
    is_group: bool = False
    is_hidden: bool = False


_COMMANDS: Final = {
    "demo": _Command("demo", "demo"),
    "up": _Command("stack", "up"),
    "env": _Command("stack", "env"),
    "ingest": _Command("ingest", "ingest", needs_arguments=True),
    "view": _Command("view", "view"),
    "manifest": _Command("manifest", "manifest"),
    "status": _Command("status", "status"),
    "retry": _Command("retry", "retry"),
    "reprocess": _Command("reprocess", "reprocess", needs_arguments=True),
    "rederive": _Command("reprocess", "rederive", is_hidden=True),
    "backfills": _Command("backfills", "app", is_group=True),
    "stale": _Command("reprocess", "stale"),
    "delete": _Command("delete", "delete", needs_arguments=True),
    "plan": _Command("plan", "plan", needs_arguments=True),
    "rejected": _Command("rejected", "rejected"),
    "usage": _Command("usage", "usage"),
    "checksums": _Command("checksums", "checksums"),
    "repair": _Command("repair", "repair"),
    "doctor": _Command("doctor", "doctor"),
    "canary": _Command("canary", "canary", needs_arguments=True),
    "metrics": _Command("metrics", "metrics"),
    "alert": _Command("alert", "alert"),
    "batch": _Command("batch", "app", is_group=True),
    "ledger": _Command("ledger", "app", is_group=True),
}


def make_app(names: Iterable[str] = _COMMANDS) -> typer.Typer:
    """Return the command line with these commands."""
    app = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(dlcs)
    for name in names:
        command = _COMMANDS[name]
        found = getattr(import_module(f"dlcs_assets.cli.{command.module}"), command.function)
        if command.is_group:
            app.add_typer(found, name=name)
        else:
            app.command(name, no_args_is_help=command.needs_arguments, hidden=command.is_hidden)(found)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 (it takes a while)

        echo(f"dlcs-assets {version('dlcs-assets')}")
        raise typer.Exit


def dlcs(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Image ingest for the Digital Library Cloud Services."""


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line with the command that is called; with all of them to help who mistypes one."""
    called = arguments[0] if arguments else ""
    return make_app([called] if called in _COMMANDS else _COMMANDS)


def main() -> None:
    """Run the command line."""
    # Pydantic would read what all installed packages say of themselves, to find plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()  # what modules make as they are loaded is never garbage
    app = app_for(sys.argv[1:])
    gc.freeze()
    gc.enable()
    app()
