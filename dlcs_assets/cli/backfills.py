"""`dlcs backfills`: how far backfills are, cancelling them, and resuming them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.output import echo, echo_data, iso_time, make_console, print_lines, print_table, shown_duration
from dlcs_assets.domain.backfill import Backfill
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import resume_backfill
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.backfills import BackfillCancelledError
from dlcs_assets.settings import Settings

if TYPE_CHECKING:
    from dlcs_assets.defs.own_backfills import OwnBackfill

RATE_WINDOW = timedelta(minutes=5)
MOST = 20
NUMBER = typer.Argument(metavar="ID", help="Number of the backfill.")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]

app = typer.Typer(help="See how far backfills are, cancel and resume them.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def list_backfills(
    context: typer.Context,
    *,
    unended: Annotated[bool, typer.Option("--open", help="Backfills that have not ended only.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Up to N backfills, the newest.")] = MOST,
    as_json: JsonOption = False,
) -> None:
    """See how far backfills are, cancel and resume them."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    with open_ledger(settings) as ledger:
        found = [_measure(ledger, each) for each in ledger.backfills.newest(unended=unended, limit=limit)]
    own = [each for each in _own(settings, limit) if not unended or each.ended_at is None]
    if as_json:
        echo_data(json.dumps([*found, *map(_own_json, own)], indent=2))
        return
    console = make_console()
    if not found and not own:
        echo("There is no backfill.")
    if found:
        headings = (
            "backfill",
            "begun",
            "images",
            "ended",
            "done",
            "failed",
            "cancelled",
            "a minute",
            "time left",
            "standing and selection",
        )
        print_table(console, headings, [_row(each) for each in found])
    if own:
        echo("\nDagster's own, launched in its UI, which also cancels them:")
        of_own = ("backfill", "begun", "images", "ended", "failed", "standing")
        print_table(console, of_own, [_own_row(each) for each in own])


@app.command(no_args_is_help=True)
def show(backfill: Annotated[int, NUMBER], *, as_json: JsonOption = False) -> None:
    """Show how far a backfill is. Its numbers, rate, time left, and why images failed."""
    with open_ledger(load_settings()) as ledger:
        seen = _measure(ledger, _find(ledger, backfill))
        seen["failures"] = [asdict(each) for each in ledger.backfills.reasons(backfill)]
    if as_json:
        echo_data(json.dumps(seen, indent=2))
    else:
        _show(make_console(), seen)


@app.command(no_args_is_help=True)
def cancel(backfill: Annotated[int, NUMBER]) -> None:
    """Cancel a backfill. What is done stays done, what waits is withdrawn, what is in runs comes to its end."""
    with open_ledger(load_settings()) as ledger:
        found = _find(ledger, backfill)
        withdrawn = ledger.backfills.cancel(backfill, now=datetime.now(UTC))
        if withdrawn is None:
            raise CommandError(f"{found.name} has ended already: {found}.")
        now = _find(ledger, backfill)
    echo(f"{now.name} is cancelled: {_images(withdrawn)} withdrawn. {now}.")
    echo(f"To continue it: dlcs backfills resume {backfill}")


@app.command(no_args_is_help=True)
def resume(backfill: Annotated[int, NUMBER]) -> None:
    """Resume a backfill. What was withdrawn or failed is requested again, and what it had not come to."""
    settings = load_settings()
    with open_ledger(settings) as ledger:
        found = _find(ledger, backfill)
        try:
            asked = resume_backfill(ledger, found, ingest_policy(settings))
        except BackfillCancelledError as error:
            raise CommandError(str(error)) from error
        now = _find(ledger, backfill)
    echo(f"{_images(asked)} requested again. {now.name}: {now}.")


def _find(ledger: Ledger, number: int) -> Backfill:
    found = ledger.backfills.find(number)
    if found is None:
        raise CommandError(f"There is no backfill {number}: see dlcs backfills.")
    return found


def _measure(ledger: Ledger, backfill: Backfill) -> dict[str, Any]:
    pace = ledger.backfills.pace(backfill, now=datetime.now(UTC), over=RATE_WINDOW)
    return {
        "id": backfill.id,
        "by": "dlcs",
        "selection": backfill.selection,
        "askedBy": backfill.asked_by,
        "standing": backfill.standing,
        "percent": backfill.percent,
        "images": backfill.images,
        "done": backfill.done,
        "failed": backfill.failed,
        "cancelled": backfill.cancelled,
        "takenOver": backfill.overtaken,
        "pending": backfill.pending,
        "running": backfill.running,
        "balance": str(backfill),
        "perMinute": None if pace is None else round(pace.a_minute, 1),
        "secondsLeft": None if pace is None or pace.left is None else round(pace.left.total_seconds()),
        "begun": iso_time(backfill.begun_at),
        "requested": iso_time(backfill.requested_at),
        "cancelledAt": iso_time(backfill.cancelled_at),
        "ended": iso_time(backfill.ended_at),
    }


def _show(console: Console, seen: dict[str, Any]) -> None:
    console.print(f"Backfill {seen['id']}: {seen['selection']}")
    lines = [("standing", seen["standing"]), ("balance", seen["balance"])]
    if seen["perMinute"] is not None:
        lines.append(("rate", f"{seen['perMinute']} images/min in the last minutes"))
    if seen["secondsLeft"] is not None:
        lines.append(("time left", f"about {shown_duration(seen['secondsLeft'])}"))
    lines.append(("asked by", seen["askedBy"]))
    times = (("begun", "begun"), ("cancelled", "cancelledAt"), ("ended", "ended"))
    lines += [(name, seen[key]) for name, key in times if seen[key]]
    name = "failures"
    for each in seen["failures"]:
        lines.append(
            (name, f"{each['count']} {each['code']}, such as {each['example']}: {each['cause']}. {each['remedy']}")
        )
        name = ""
    if seen["failures"] or seen["cancelled"]:
        lines.append(("again", f"dlcs backfills resume {seen['id']}"))
    print_lines(console, lines)


def _row(seen: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(seen["id"]),
        f"{datetime.fromisoformat(seen['begun']):%Y-%m-%d %H:%M}",
        str(seen["images"]),
        f"{seen['percent']} %",
        *(str(seen[name]) for name in ("done", "failed", "cancelled")),
        "" if seen["perMinute"] is None else str(seen["perMinute"]),
        "" if seen["secondsLeft"] is None else shown_duration(seen["secondsLeft"]),
        f"{seen['standing'].partition(':')[0]}: {seen['selection']}",
    )


def _own(settings: Settings, limit: int) -> list[OwnBackfill]:
    home = os.environ.get("DAGSTER_HOME")
    if not home or not (Path(home) / "dagster.yaml").exists():
        return []  # Dagster is elsewhere
    import dagster as dg  # noqa: PLC0415 (a second and a half that few commands need)

    from dlcs_assets.defs.catalog import Catalog  # noqa: PLC0415 (as above)
    from dlcs_assets.defs.own_backfills import newest  # noqa: PLC0415 (as above)

    with dg.DagsterInstance.from_config(home) as instance:
        return newest(instance, Catalog.of(settings), limit=limit)


def _own_row(own: OwnBackfill) -> tuple[str, ...]:
    images = "" if own.images is None else str(own.images)
    return own.id, f"{own.begun_at:%Y-%m-%d %H:%M}", images, f"{own.percent} %", str(own.failed), own.status


def _own_json(own: OwnBackfill) -> dict[str, Any]:
    return {
        "id": own.id,
        "by": "Dagster",
        "standing": own.status,
        "percent": own.percent,
        "images": own.images,
        "failed": own.failed,
        "begun": iso_time(own.begun_at),
        "ended": iso_time(own.ended_at),
    }


def _images(number: int) -> str:
    return "1 image is" if number == 1 else f"{number} images are"
