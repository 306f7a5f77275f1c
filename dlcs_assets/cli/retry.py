"""`dlcs retry`: ingests images again that failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.options import BatchOption, CustomerOption, IdsArgument, SpaceOption, parse_ids, parse_space
from dlcs_assets.cli.output import echo
from dlcs_assets.domain.request_states import ShownState
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
        echo(f"None of these images has failed: nothing to do.{_other_states(counts)}")
        return
    spaces = len({each.rpartition("/")[0] for each in chosen})
    echo(f"{_count(len(chosen), 'image')} will be retried, in {_count(spaces, 'space')}.")


def _other_states(counts: Mapping[str, int]) -> str:
    """Say of images that have not failed why they are not retried, where that is not plain."""
    under_way = counts[ShownState.PENDING] + counts[ShownState.RUNNING]
    deleted = counts[ShownState.DELETED]
    more = ""
    if under_way:
        more += f" {_are(under_way)} pending or running already."
    if deleted:
        it = "it" if deleted == 1 else "them"
        more += f" {_are(deleted)} deleted, and can be ingested only by a message that registers {it} again."
    return more


def _are(number: int) -> str:
    return f"{number} is" if number == 1 else f"{number} are"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
