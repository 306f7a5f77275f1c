"""`dlcs ledger owner` and `take-over`: which Dagster instance the ledger works for, and giving it to another one."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.dagster_instance import instance_at
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.output import echo
from dlcs_assets.domain.redaction import shown_url
from dlcs_assets.ingest.policy import retry_schedule
from dlcs_assets.ledger.ownership import UNSEEN, InProgress, Owner

SEEN_LATELY: Final = timedelta(minutes=3)
_INSTANCE: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def owner() -> None:
    """Show which Dagster instance the ledger works for. And what that one has in progress."""
    settings = load_settings()
    with open_ledger(settings) as ledger:
        found, doing = ledger.ownership.current(), ledger.ownership.in_progress()
    echo(f"Ledger: {shown_url(settings.ledger_url)}")
    echo(_owner(found))
    echo(f"In progress: {_counted(doing)}.")


def take_over(
    instance: Annotated[
        str | None,
        typer.Argument(
            metavar="INSTANCE", help="Id of the new owner, as its ticks say. Default: the instance of DAGSTER_HOME."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
) -> None:
    """Have the ledger work for another Dagster instance. The former one can write nothing more."""
    instance_id, name = _chosen(instance)
    settings = load_settings()
    with open_ledger(settings) as ledger:
        found, doing = ledger.ownership.current(), ledger.ownership.in_progress()
        if found is not None and found.instance_id == instance_id:
            echo(f"{_owner(found)} Nothing is changed.")
            return
        echo(_owner(found))
        echo(_what_it_means(found, doing))
        if not yes:
            typer.confirm(f"Give {shown_url(settings.ledger_url)} to Dagster instance {instance_id}?", abort=True)
        stopped = ledger.ownership.take_over(
            instance_id, name, schedule=retry_schedule(settings), now=datetime.now(UTC)
        )
    echo(f"The ledger works for Dagster instance {instance_id} now. Due again: {_counted(stopped)}.")


def _chosen(instance: str | None) -> tuple[str, str]:
    if instance is not None:
        if not _INSTANCE.fullmatch(instance):
            raise UsageError(f"{instance}: expected the id of a Dagster instance, as the ticks of its sensors show it.")
        return instance, UNSEEN
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise CommandError("Which Dagster instance is to own the ledger? Name its id, or set DAGSTER_HOME.")
    return instance_at(home)


def _owner(found: Owner | None) -> str:
    if found is None:
        return "No Dagster instance has used it yet: the first one that does becomes its owner."
    return f"It works for {found.describe(datetime.now(UTC))}."


def _what_it_means(found: Owner | None, doing: InProgress) -> str:
    stopped = (
        f"In progress: {_counted(doing)}. Their images are due again at once, without losing an attempt; the runs "
        "publish and record nothing more, and the former owner's sensors and runs fail with the reason."
    )
    lines = [
        stopped,
        "What is registered, done, failed or waiting stays as it is.",
    ]
    if found is not None and datetime.now(UTC) - found.seen_at < SEEN_LATELY:
        lines.append("The owner seems to be up: stop it before, or it goes on asking.")
    return "\n".join(lines)


def _counted(doing: InProgress) -> str:
    return f"{len(doing.runs)} runs, {doing.images} images"
