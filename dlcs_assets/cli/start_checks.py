"""What is checked before the embedded stack starts: settings, the customers file, the ledger's owner."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape

from dlcs_assets.cli.connection import open_ledger, settings_of
from dlcs_assets.cli.dagster_instance import instance_at
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.given_settings import LEDGER, Given
from dlcs_assets.customers import customer_source
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ledger.database import NotOwnerError
from dlcs_assets.settings import Settings, unknown_variables


def check_start(folder: Path, environment: Mapping[str, str], given: Given, *, with_dagster: bool) -> Iterator[str]:
    """Yield what is to be said before the stack starts, a line each. Raises CommandError for what must not start."""
    for unknown in unknown_variables(os.environ):
        yield f"[yellow]warning[/]  {escape(str(unknown))}"
    settings = settings_of({**os.environ, **environment})
    if problem := customer_source(settings).problem():
        yield f"[red]mistake[/]  {escape(problem)}"
    if LEDGER in given.settings and with_dagster:
        _own_ledger(str(folder / "dagster"), settings)


def _own_ledger(home: str, settings: Settings) -> None:
    """Let the stack's Dagster own the ledger, unless another one does.

    The Dagster that this folder had before is none: its storage was deleted with the rest of the folder.
    """
    instance_id, name = instance_at(home)
    now = datetime.now(UTC)
    with open_ledger(settings) as ledger:
        owner = ledger.ownership.current()
        if owner is not None and owner.name == name:
            ledger.ownership.take_over(instance_id, name, schedule=retry_schedule(settings), now=now)
        try:
            ledger.ownership.require(instance_id, name, now=now)
        except NotOwnerError as error:
            raise CommandError(str(error)) from error
