"""`dlcs batch`: how far batches are, and closing them. Submitting is in batch_manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from dlcs_assets.cli import batch_manifest
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.output import echo, echo_data, iso_time, make_console, print_lines, print_table, shown_duration
from dlcs_assets.domain.batch import Batch, time_left
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.batches import BatchImage, notification_id
from dlcs_assets.ledger.outbox import Notification

RATE_WINDOW = timedelta(minutes=5)
MAX_REASONS = 10
MAX_BATCHES = 50

BatchArgument = Annotated[int | None, typer.Argument(metavar="ID", help="Number of the batch. Default: the newest.")]
CustomerOption = Annotated[
    int | None, typer.Option(metavar="N", help="Customer of the batch; needed where several have one of this number.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


app = typer.Typer(
    help="Submit batches of images, and see how far they are.", no_args_is_help=True, rich_markup_mode=None
)
app.command(no_args_is_help=True)(batch_manifest.submit)


@app.command()
def status(batch: BatchArgument = None, customer: CustomerOption = None, *, as_json: JsonOption = False) -> None:
    """Show how far a batch is. Its numbers, rate, time left, and why images failed."""
    with open_ledger(load_settings()) as ledger:
        seen = _measure(ledger, _newest(ledger, customer) if batch is None else find_batch(ledger, batch, customer))
    if as_json:
        echo_data(json.dumps(seen, indent=2))
    else:
        _show(make_console(), seen)


@app.command("list")
def list_batches(
    customer: Annotated[int | None, typer.Option(metavar="N", help="Batches of this customer only.")] = None,
    *,
    unfinished: Annotated[bool, typer.Option("--open", help="Batches that are not finished only.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Up to N batches, the newest.")] = MAX_BATCHES,
    as_json: JsonOption = False,
) -> None:
    """List batches with their numbers, the newest first."""
    with open_ledger(load_settings()) as ledger:
        found = ledger.batches.newest(customer=customer, unfinished=unfinished, limit=limit)
    if as_json:
        echo_data(json.dumps([batch_json(batch) for batch in found], indent=2))
    elif not found:
        echo("There is no batch.")
    else:
        headings = (
            "customer",
            "batch",
            "submitted",
            "count",
            "done",
            "failed",
            "rejected",
            "cancelled",
            "pending",
            "standing",
        )
        print_table(make_console(), headings, [_row(batch) for batch in found])


app.command(no_args_is_help=True)(batch_manifest.missing)


@app.command(no_args_is_help=True)
def close(
    batch: Annotated[int, typer.Argument(metavar="ID", help="Number of the batch.")], customer: CustomerOption = None
) -> None:
    """Close a batch: no more images are submitted. It is finished once those that came have ended."""
    with open_ledger(load_settings()) as ledger:
        found = find_batch(ledger, batch, customer)
        if not ledger.batches.close(batch, found.customer, now=datetime.now(UTC)):
            raise CommandError(f"{found.name} is {'finished' if found.finished_at else 'closed'} already.")
        closed = find_batch(ledger, batch, found.customer)
    echo(f"{closed.name} is closed with {closed.count} images: {closed.tally}.")


def find_batch(ledger: Ledger, number: int, customer: int | None) -> Batch:
    """Return a batch; a CommandError if there is none, UsageError if several customers have one of this number."""
    found = ledger.batches.find(number, customer=customer)
    if not found:
        whose = "No customer" if customer is None else f"Customer {customer}"
        raise CommandError(f"{whose} has {'a' if customer is None else 'no'} batch {number}: see dlcs batch list.")
    if len(found) > 1:
        owners = ", ".join(str(batch.customer) for batch in found)
        raise UsageError(f"The customers {owners} have a batch {number} each. Choose one with --customer.")
    return found[0]


def batch_json(batch: Batch) -> dict[str, Any]:
    """Return plain JSON values, in the DLCS's words where it has them."""
    tally = batch.tally
    return {
        "id": batch.id,
        "customer": batch.customer,
        "standing": batch.standing,
        "count": batch.count,
        "notReceived": batch.not_received,
        "listed": tally.listed,
        "done": tally.done,
        "failed": tally.failed,
        "rejected": tally.rejected,
        "cancelled": tally.cancelled,
        "correctedSince": tally.corrected,
        "pending": tally.pending,
        "running": tally.running,
        "completed": tally.completed,
        "errors": tally.errors,
        "superseded": batch.superseded,
        "submitted": iso_time(batch.submitted_at),
        "closed": iso_time(batch.closed_at),
        "finished": iso_time(batch.finished_at),
    }


def by_reason(images: Sequence[BatchImage]) -> list[tuple[BatchImage, int]]:
    """Return an example of each reason for which images failed, with how many did, the most frequent first."""
    groups: dict[tuple[str, str | None], list[BatchImage]] = {}
    for image in sorted(images, key=lambda image: image.corrected):  # what is still to be done is the better example
        groups.setdefault((image.state, image.code), []).append(image)
    return sorted(((group[0], len(group)) for group in groups.values()), key=lambda pair: -pair[1])


def _newest(ledger: Ledger, customer: int | None) -> Batch:
    found = ledger.batches.newest(customer=customer, limit=1)
    if not found:
        raise CommandError("There is no batch.")
    return found[0]


def _measure(ledger: Ledger, batch: Batch) -> dict[str, Any]:
    now = datetime.now(UTC)
    window = min(RATE_WINDOW, max(now - batch.submitted_at, timedelta(seconds=1)))
    ended = ledger.batches.ended_since(batch.id, batch.customer, now - window)
    left = time_left(batch, ended, window)
    failures = by_reason(ledger.batches.images(batch.id, batch.customer, failures_only=True))
    return {
        **batch_json(batch),
        "balance": str(batch.tally),
        "perMinute": round(ended / (window / timedelta(minutes=1)), 1),
        "secondsLeft": None if left is None else round(left.total_seconds()),
        "notification": _notification(ledger.outbox.get(notification_id(batch.id, batch.customer))),
        "failures": [
            {
                "count": count,
                "state": example.state,
                "code": example.code,
                "example": example.image_id,
                "reason": example.reason,
            }
            for example, count in failures[:MAX_REASONS]
        ],
    }


def _notification(found: Notification | None) -> dict[str, Any] | None:
    if found is None:
        return None
    body = json.loads(found.body)
    numbers = {name: body[name] for name in ("count", "completed", "errors", "superseded")}
    return {**numbers, "sent": iso_time(found.published_at), "problem": found.error}


def _show(console: Console, seen: dict[str, Any]) -> None:
    console.print(f"Batch {seen['id']} of customer {seen['customer']}")
    lines = [("standing", str(seen["standing"])), ("balance", str(seen["balance"])), ("count", _count(seen))]
    if seen["finished"] is None:
        lines.append(("rate", f"{seen['perMinute']} images/min in the last minutes"))
    if seen["secondsLeft"] is not None:
        lines.append(("time left", f"about {shown_duration(seen['secondsLeft'])}"))
    if seen["superseded"]:
        lines.append(("superseded", "later batches have asked for each of its images again"))
    lines += [(name, str(seen[name])) for name in ("submitted", "closed", "finished") if seen[name]]
    if notice := seen["notification"]:
        sent = (
            f"sent {notice['sent']}" if notice["sent"] else f"not sent yet: {notice['problem'] or 'it is about to be'}"
        )
        numbers = f"{notice['completed']} completed, {notice['errors']} errors of {notice['count']}"
        lines.append(("notification", f"{numbers}; {sent}"))
    name = "failures"
    for failure in seen["failures"]:
        example = failure["example"] or "a message that names no image"
        lines.append((name, f"{failure['count']} {failure['state']}, such as {example}: {failure['reason']}"))
        name = ""
    print_lines(console, lines)


def _count(seen: dict[str, Any]) -> str:
    if seen["count"] is None:
        return "not known (dlcs batch close says that these are all)"
    more = f", {seen['notReceived']} of them not received yet" if seen["notReceived"] else ", all received"
    return f"{seen['count']} images{more}"


def _row(batch: Batch) -> tuple[str, ...]:
    tally = batch.tally
    numbers = (tally.done, tally.failed, tally.rejected, tally.cancelled, tally.unended)
    return (
        str(batch.customer),
        str(batch.id),
        f"{batch.submitted_at:%Y-%m-%d %H:%M}",
        "?" if batch.count is None else str(batch.count),
        *(str(number) for number in numbers),
        batch.standing.partition(":")[0],
    )
