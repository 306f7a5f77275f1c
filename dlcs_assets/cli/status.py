"""`dlcs status`: where images are, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import FAILED
from dlcs_assets.cli.options import BatchOption, CustomerOption, IdsArgument, SpaceOption, parse_ids, parse_space
from dlcs_assets.cli.output import echo, echo_data, make_console, print_table, shown_bytes, state_text
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.batch import Batch
from dlcs_assets.domain.request_states import SHOWN_SUCCESSFUL, ShownState
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.reports import ImageStatus, Selection

MAX_ROWS = 200
# What needs attention comes first.
UNSUCCESSFUL_FIRST = tuple(state for state in reversed(ShownState) if state not in SHOWN_SUCCESSFUL)
BY_INTEREST = (*UNSUCCESSFUL_FIRST, *SHOWN_SUCCESSFUL)


def status(
    ids: IdsArgument = None,
    batch: BatchOption = None,
    customer: CustomerOption = None,
    space: SpaceOption = None,
    state: Annotated[
        ShownState | None,
        typer.Option(help="Images in this state only."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of objects instead.")] = False,
) -> None:
    """Show where images are and why. All of them, those chosen, or everything about a single ID."""
    selection = Selection(parse_ids(ids), *parse_space(customer, space), batch)
    settings = load_settings()
    console = make_console()
    with open_ledger(settings) as ledger:
        batches = [] if batch is None else ledger.batches.find(batch, customer=selection.customer)
        rejected = _rejected_in(ledger, batches, selection)
        if not selection.ids and not as_json:  # of all that there is, only what is shown is read
            if batch is None and (held_up := ledger.launches.held_up()):
                echo(held_up.describe(), err=True)
            for each in batches:
                console.print(f"{each.name}, {each.standing.partition(':')[0]}: {each.tally}")
            counts = Counter(ledger.reports.counts(selection))
            counts[ShownState.REJECTED] += len(rejected)
            shown = rejected if state in {None, ShownState.REJECTED} else []
            _show_all(console, counts, [*shown, *_most_interesting(ledger, selection, state, counts)], state)
            return
        known = [*ledger.reports.images(selection), *rejected]
        chosen = [image for image in known if state in {None, image.state}]
        if as_json:
            echo_data(json.dumps([image.to_json() for image in chosen], indent=2))
        elif len(selection.ids) == 1 and chosen:
            from dlcs_assets.cli.image_view import show_image  # noqa: PLC0415 (it plans what a request would do, with all that takes)

            show_image(console, chosen[0], ledger, settings)
        elif known:
            for each in batches:
                console.print(f"{each.name}, {each.standing.partition(':')[0]}: {each.tally}")
            _show_all(console, Counter(image.state for image in known), chosen, state)
    if unknown := sorted(set(selection.ids) - {image.asset_id for image in known}):
        echo(f"Not known here: {', '.join(unknown)}.", err=True)
        raise typer.Exit(FAILED)


def _rejected_in(ledger: Ledger, batches: Sequence[Batch], selection: Selection) -> list[ImageStatus]:
    """Return the images of batches all of whose messages were rejected."""
    return [
        ImageStatus(
            image.image_id,
            image.state,
            batch=batch.id,
            error_code=image.code,
            error_cause=image.cause,
            error_remedy=image.remedy,
        )
        for batch in batches
        for image in ledger.batches.refused(batch.id, batch.customer)
        if image.image_id and selection.space in {None, AssetId.parse(image.image_id).space}
        if not selection.ids or image.image_id in selection.ids
    ]


def _most_interesting(
    ledger: Ledger, selection: Selection, state: str | None, counts: Mapping[str, int]
) -> list[ImageStatus]:
    if state is not None:
        return ledger.reports.images(replace(selection, state=state), limit=MAX_ROWS)
    found: dict[str, ImageStatus] = {}
    for each in BY_INTEREST:
        if counts[each] and (room := MAX_ROWS - len(found)):
            found |= {one.asset_id: one for one in ledger.reports.images(replace(selection, state=each), limit=room)}
    return list(found.values())


def _show_all(console: Console, counts: Mapping[str, int], chosen: Sequence[ImageStatus], state: str | None) -> None:
    """Show how many images there are in each state, and a line for each of those chosen, up to MAX_ROWS."""
    parts = [f"{counts[each]} {each}" for each in ShownState if counts[each]]
    total = sum(counts.values())
    console.print(f"{total} image{'' if total == 1 else 's'}{': ' if parts else ''}{', '.join(parts)}")
    if not chosen:
        return
    rows = sorted(chosen, key=lambda image: BY_INTEREST.index(ShownState(image.state)))[:MAX_ROWS]
    print_table(
        console,
        ("image", "state", "pixels", "bytes", "stages and reason"),
        [
            (image.asset_id, state_text(image.state), _pixels(image), _stored_bytes(image), _summary(image))
            for image in rows
        ],
    )
    if more := (total if state is None else counts[state]) - len(rows):
        console.print(f"... and {more} more: choose with --space or --state, or use --json.")


def _pixels(image: ImageStatus) -> str:
    values = image.to_json()
    return f"{values['width']}x{values['height']}" if values["width"] else ""


def _stored_bytes(image: ImageStatus) -> str:
    return shown_bytes(sum(stored.bytes for stored in image.objects)) if image.objects else ""


def _summary(image: ImageStatus) -> str:
    return image.reason or "; ".join(result.outcome for result in image.stages.values())
