"""`dlcs batch`: its commands, put together."""

from __future__ import annotations

import typer

from dlcs_assets.cli import batch_manifest, batch_status

app = typer.Typer(
    help="Submit batches of images, and see how far they are.", no_args_is_help=True, rich_markup_mode=None
)
app.command(no_args_is_help=True)(batch_manifest.submit)
app.command()(batch_status.status)
app.command("list")(batch_status.list_batches)
app.command(no_args_is_help=True)(batch_manifest.missing)
app.command(no_args_is_help=True)(batch_status.close)
