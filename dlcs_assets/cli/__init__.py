"""The command `dlcs`: one module for each group of commands, put together here."""

from __future__ import annotations

import typer

from dlcs_assets.cli import stack

app = typer.Typer(
    help="Image ingest for the Digital Library Cloud Services.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(stack.up)
app.command()(stack.env)


def main() -> None:
    """Run the command line."""
    app()
