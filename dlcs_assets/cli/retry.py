"""`dlcs retry`: ingests images again that failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.options import BatchOption, CustomerOption, IdsArgument, SpaceOption, parse_ids, parse_space
from dlcs_assets.cli.output import echo
from dlcs_assets.ledger.reports import Selection


def retry(
    ids: IdsArgument = None,
    batch: BatchOption = None,
    customer: CustomerOption = None,
    space: SpaceOption = None,
    reason: Annotated[
        str | None, typer.Option(metavar="CODE", help="Images that failed for this reason, as `dlcs status` shows it.")
    ] = None,
) -> None:
    """Retry images that failed. Those named by ID also if they are done."""
    chosen_customer, chosen_space = parse_space(customer, space)
    selection = Selection(parse_ids(ids), chosen_customer, chosen_space, batch, reason)
    if selection == Selection():
        raise UsageError("No images selected. Use IDs, --batch, --space, --customer or --reason.")
    with open_ledger(load_settings()) as ledger:
        if selection.ids:
            known = {status.asset_id for status in ledger.reports.images(Selection(ids=selection.ids))}
            if unknown := [each for each in selection.ids if each not in known]:
                raise CommandError(f"Not known: {', '.join(unknown)}. No image is retried.")
        chosen = ledger.reports.retry(selection, now=datetime.now(UTC))
        counts = ledger.reports.counts(selection)
    if not chosen:
        under_way = counts["pending"] + counts["running"]
        more = f"; {under_way} are pending or running already" if under_way else ""
        echo(f"None of these images has failed{more}: nothing to do.")
        return
    spaces = len({each.rpartition("/")[0] for each in chosen})
    echo(f"{_count(len(chosen), 'image')} will be retried, in {_count(spaces, 'space')}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
