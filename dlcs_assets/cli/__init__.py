"""The command `dlcs`: one module for each group of commands, put together here."""

from __future__ import annotations

import typer

from dlcs_assets.cli import (
    batch,
    canary,
    delete,
    demo,
    doctor,
    ingest,
    metrics,
    plan,
    rederive,
    rejected,
    retry,
    stack,
    status,
    usage,
)
from dlcs_assets.cli.failure import Commands

app = typer.Typer(
    cls=Commands,
    help="Image ingest for the Digital Library Cloud Services.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(stack.up)
app.command()(stack.env)
app.command(no_args_is_help=True)(ingest.ingest)
app.command()(status.status)
app.command()(retry.retry)
app.command(no_args_is_help=True)(rederive.rederive)
app.command()(rederive.stale)
app.command(no_args_is_help=True)(delete.delete)
app.command(no_args_is_help=True)(plan.plan)
app.command()(rejected.rejected)
app.command()(usage.usage)
app.command()(doctor.doctor)
app.command(no_args_is_help=True)(canary.canary)
app.command()(metrics.metrics)
app.add_typer(batch.app, name="batch")


def main() -> None:
    """Run the command line."""
    app()
