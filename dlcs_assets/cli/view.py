"""`dlcs view`: pages of images, failures and batches, for a browser."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.output import echo

LOOPBACK: Final = "127.0.0.1"
PORT: Final = 3001


def view(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = LOOPBACK,
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="Name by which the pages are reached, in addition to this machine's own addresses; repeatable.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            metavar="ORIGIN",
            help="Origin of a viewer whose pages may read manifests, such as https://viewer.example.org; repeatable.",
        ),
    ] = None,
) -> None:
    """Show images, failures and batches in a browser, until Ctrl-C. The pages only read."""
    from dlcs_assets.view.app import serve  # noqa: PLC0415 (other commands need no server)

    settings = load_settings()
    with open_ledger(settings):
        pass  # one that cannot be used is said here, and not only on a page
    echo(f"http://{host}:{port}", err=True)
    serve(settings, host=host, port=port, hosts=allow_host or (), viewers=allow_origin or ())
