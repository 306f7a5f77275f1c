"""The command `dlcs`: one module for each command, put together here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from dlcs_assets.cli import (
    batch,
    canary,
    checksums,
    delete,
    demo,
    doctor,
    ingest,
    ledger,
    metrics,
    plan,
    rejected,
    reprocess,
    retry,
    stack,
    status,
    usage,
)
from dlcs_assets.cli.failure import Commands
from dlcs_assets.cli.output import echo

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(stack.up)
app.command()(stack.env)
app.command(no_args_is_help=True)(ingest.ingest)
app.command()(status.status)
app.command()(retry.retry)
app.command(no_args_is_help=True)(reprocess.reprocess)
app.command("rederive", hidden=True)(reprocess.renamed(reprocess.reprocess, "rederive"))
app.command()(reprocess.stale)
app.command(no_args_is_help=True)(delete.delete)
app.command(no_args_is_help=True)(plan.plan)
app.command()(rejected.rejected)
app.command()(usage.usage)
app.command()(checksums.checksums)
app.command()(doctor.doctor)
app.command(no_args_is_help=True)(canary.canary)
app.command()(metrics.metrics)
app.add_typer(batch.app, name="batch")
app.add_typer(ledger.app, name="ledger")


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"dlcs-assets {version('dlcs-assets')}")
        raise typer.Exit


@app.callback()
def dlcs(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Image ingest for the Digital Library Cloud Services."""


def main() -> None:
    """Run the command line."""
    app()
