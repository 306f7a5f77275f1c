"""`dlcs reprocess` and `dlcs stale`: making results again, and finding those that are out of date."""

from __future__ import annotations

import getpass
import json
import platform
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError, UsageError
from dlcs_assets.cli.options import CustomerOption, SpaceOption, parse_space
from dlcs_assets.cli.output import echo, echo_data, make_console, print_table, shown_bytes
from dlcs_assets.domain.stages import STAGES, Stage
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ingest.reprocess import (
    ReprocessEstimate,
    ReprocessSelector,
    describe,
    request_reprocessing,
    select_images,
)
from dlcs_assets.ledger.backfills import BackfillCancelledError

P = ParamSpec("P")
MatchOption = Annotated[
    str | None, typer.Option(metavar="GLOB", help="Images whose own name (without customer and space) matches this.")
]


def reprocess(  # noqa: PLR0917 (typer reads the options from the signature)
    customer: CustomerOption = None,
    every_customer: Annotated[
        bool, typer.Option("--every-customer", help="Images of every customer, if nothing else is given as well.")
    ] = False,
    space: SpaceOption = None,
    stage: Annotated[Stage | None, typer.Option(help="From this stage on; default: all of them.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Images that have a policy of this name in one of their channels."),
    ] = None,
    match: MatchOption = None,
    reason: Annotated[
        str | None, typer.Option(metavar="CODE", help="Images that failed for this reason, as `dlcs status` shows it.")
    ] = None,
    stale_only: Annotated[
        bool, typer.Option("--stale", help="Only what `dlcs stale` lists, and of it only the stages that it names.")
    ] = False,
    outdated: Annotated[bool, typer.Option("--outdated", hidden=True, help="The former name of --stale.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be done, and do nothing.")] = False,
) -> None:
    """Make the results of images again, as a backfill. Whether or not Dagster has their partitions at the moment."""
    chosen_customer, chosen_space = parse_space(customer, space)
    if every_customer and chosen_customer is not None:
        raise UsageError(f"--every-customer and customer {chosen_customer}: choose one of them.")
    selector = ReprocessSelector(chosen_customer, chosen_space, stage, policy, match, reason, stale_only or outdated)
    if selector in {ReprocessSelector(), ReprocessSelector(from_stage=stage)} and not every_customer:
        raise UsageError(
            "No images selected. Use --customer, --space, --policy, --match, --reason or --stale, or --every-customer."
        )
    settings = load_settings()
    estimate = ReprocessEstimate()
    with open_ledger(settings) as ledger:
        items = select_images(ledger, selector, ingest_policy(settings), estimate)
        backfill = None
        if dry_run:
            deque(items, maxlen=0)  # to its end: the estimate is of all of them
        else:
            try:
                backfill = request_reprocessing(ledger, selector, items, asked_by=_user())
            except BackfillCancelledError as error:
                raise CommandError(str(error)) from error
    at_a_time = settings.backfill_runs * settings.images_in_flight
    for line in describe(estimate, at_a_time, backfill=backfill):
        echo(line)


def _user() -> str:
    """Return who asks, as far as the system knows."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"the command line on {platform.node()}"


def renamed(command: Callable[P, None], former: str) -> Callable[P, None]:
    """Return the command under its former name: it works, and says on standard error what to write instead."""

    @wraps(command)
    def forward(*arguments: P.args, **options: P.kwargs) -> None:
        echo(f"`dlcs {former}` is now called `dlcs {command.__name__}`.", err=True)
        command(*arguments, **options)

    return forward


rederive = renamed(reprocess, "rederive")


def stale(
    customer: CustomerOption = None,
    space: SpaceOption = None,
    match: MatchOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each image and line.")] = False,
) -> None:
    """List images whose results are out of date. Policy, profile, code version or origin have changed since."""
    chosen_customer, chosen_space = parse_space(customer, space)
    settings = load_settings()
    console = make_console()
    estimate = ReprocessEstimate()
    selector = ReprocessSelector(chosen_customer, chosen_space, match=match, stale=True)
    rows = []
    with open_ledger(settings) as ledger:
        for each in select_images(ledger, selector, ingest_policy(settings), estimate):
            stages = [stage for stage in STAGES if stage in each.stages]
            if as_json:
                shown = {"id": str(each.asset_id), "stages": stages, "reasons": each.reasons, "bytes": each.bytes}
                echo_data(json.dumps(shown))
            else:
                rows.append((str(each.asset_id), ", ".join(stages), shown_bytes(each.bytes), ", ".join(each.reasons)))
    if as_json:
        return
    if not rows:
        console.print("No image is stale.")
    else:
        print_table(console, ["image", "stages", "to read", "what has changed"], rows)
        console.print(f"{estimate.images} stale. To reprocess them: dlcs reprocess --stale")
    for code, count in estimate.skipped.items():
        console.print(f"{count} could not be checked: {code}. See: dlcs plan ID")
