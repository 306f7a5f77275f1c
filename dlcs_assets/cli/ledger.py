"""`dlcs ledger`: filling a ledger from what S3 has, and comparing the two. Both only report, unless --yes is given.

Whose the ledger is, is in `ledger_owner`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from dlcs_assets.cli import ledger_owner
from dlcs_assets.cli.clients import make_storage
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import FAILED, CommandError, UsageError
from dlcs_assets.cli.options import CustomerOption, IdsArgument, SpaceOption, parse_ids, parse_space
from dlcs_assets.cli.output import echo, echo_data, make_console, print_table, shown_bytes
from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.domain.text import shown_text
from dlcs_assets.recovery.compare import MEANINGS, Compared, Comparer, Finding, Kind
from dlcs_assets.recovery.inventory import Inventory, Scope
from dlcs_assets.recovery.rebuild import Rebuild, Rebuilt, Totals
from dlcs_assets.recovery.repair import Repair, Repaired
from dlcs_assets.settings import Settings

NAMED = 20  # images or objects that are listed as text; --json has all
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without this it is only reported.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object for each line.")]

app = typer.Typer(
    help="Show who owns the ledger, rebuild it, compare it with S3.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(ledger_owner.owner)
app.command("take-over")(ledger_owner.take_over)


@app.command()
def rebuild(
    ids: IdsArgument = None,
    customer: CustomerOption = None,
    space: SpaceOption = None,
    *,
    missing: Annotated[
        bool, typer.Option("--missing", help="All images that the ledger lacks, also if it is not empty.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fill the ledger with the images that S3 has, and the DLCS's database. Without --yes nothing is written."""
    scope = Scope(parse_ids(ids), *parse_space(customer, space))
    settings = load_settings()
    with open_ledger(settings) as ledger, make_storage(settings) as storage, _dlcs_database(settings) as database:
        if not (missing or scope or ledger.rebuilding.is_empty()):
            raise CommandError(
                "The ledger is not empty. To fill in what it lacks, say which images: --missing for all, or IDs, "
                "--customer or --space. What it has is never changed."
            )
        run = Rebuild(ledger, storage, database, settings.s3_uri_region, dry_run=not yes)
        with _inventory(settings) as inventory:
            inventory.fill(storage, scope)
            failed = _show_images(run.run(inventory, scope), as_json=as_json)
            if not as_json:
                _show_totals(make_console(), run, inventory)
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def compare(
    ids: IdsArgument = None,
    customer: CustomerOption = None,
    space: SpaceOption = None,
    *,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Ask for the checksum of each object: a request for each.")
    ] = False,
    repair: Annotated[
        list[Kind] | None, typer.Option(metavar="KIND", help="Repair disagreements of this kind. May be given again.")
    ] = None,
    from_versions: Annotated[
        bool, typer.Option("--from-versions", help="Look for missing objects among the bucket's older versions first.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show where ledger and S3 disagree; with --repair, repair it. Status 1 if they disagree, or something is left."""
    if (yes or from_versions) and not repair:
        raise UsageError("Say what to repair: --repair KIND.")
    scope = Scope(parse_ids(ids), *parse_space(customer, space))
    settings = load_settings()
    console = make_console()
    with open_ledger(settings) as ledger, make_storage(settings) as storage, _inventory(settings) as inventory:
        comparer = Comparer(ledger, storage, checksums=checksums)
        repairs = Repair(
            ledger, storage, frozenset(repair or ()), from_versions, dry_run=not yes, region=settings.s3_uri_region
        )
        shown: list[Finding] = []
        inventory.fill(storage, scope)
        for image in comparer.run(inventory, scope):
            for finding in image.findings:
                if as_json:
                    echo_data(json.dumps(finding.to_json()))
                elif len(shown) < NAMED:
                    shown.append(finding)
            repairs.image(image)
    if as_json:
        for line in _summary(comparer.compared):
            echo_data(json.dumps(line))
    else:
        _show_compared(console, comparer.compared, shown, inventory)
        _show_repaired(console, repairs)
    found, repaired = comparer.compared.findings.total(), repairs.repaired
    if found > (repaired.objects.total() + repaired.restored if yes else 0):
        raise typer.Exit(FAILED)


@contextmanager
def _inventory(settings: Settings) -> Iterator[Inventory]:
    with Inventory(settings.storage_bucket, settings.thumbs_bucket) as inventory:
        yield inventory


@contextmanager
def _dlcs_database(settings: Settings) -> Iterator[DlcsDatabase | None]:
    if settings.database_url is None:
        yield None
        return
    database = DlcsDatabase(settings.database_url.get_secret_value())
    try:
        yield database
    finally:
        database.close()


def _show_images(images: Iterator[Rebuilt], *, as_json: bool) -> bool:
    """Print the images as they come; return whether one was skipped. As text only those that need attention."""
    skipped, named = False, 0
    for image in images:
        skipped = skipped or image.state == "skipped"
        if as_json:
            echo_data(json.dumps(image.to_json()))
        elif image.why and named < NAMED:
            named += 1
            echo(f"{shown_text(str(image.asset_id))}: {image.state}: {shown_text(image.why)}")
    return skipped


def _show_totals(console: Console, run: Rebuild, inventory: Inventory) -> None:
    totals, would = run.totals, "would be added" if run.dry_run else "added"
    images = sum(count for state, count in totals.states.items() if state != "skipped")
    parts = ", ".join(f"{count} {state}" for state, count in sorted(totals.states.items()))
    console.print(f"{_images(images)} {would}{f': {parts}' if parts else ''}.")
    console.print(f"{totals.objects} objects, {shown_bytes(totals.bytes)}.")
    for unknown, count in sorted(totals.unknown.items()):
        console.print(f"Not known of {_images(count)}: {unknown}.")
    if images:
        console.print("Not known of any: how it was made. All are stale (`dlcs stale`) until they are made again.")
    _show_rest(console, totals, inventory)
    if run.dry_run and images:
        requests = totals.objects
        console.print(f"Nothing was written. With --yes, about {requests} more requests to S3, and this is written.")


def _show_rest(console: Console, totals: Totals, inventory: Inventory) -> None:
    if totals.known:
        console.print(f"{_images(totals.known)} of which the ledger knows already: not changed.")
    if totals.transient:
        console.print(
            f"{totals.transient} transient objects are left; `dlcs ledger compare --repair transient` removes them."
        )
    _show_others(console, inventory)


def _show_others(console: Console, inventory: Inventory) -> None:
    for bucket, count in sorted(inventory.others.items()):
        names = [shown_text(each) for each in inventory.examples if each.startswith(f"s3://{bucket}/")]
        such = f", such as {', '.join(names)}" if names else ""
        console.print(f"{count} objects in {bucket} are under no key of this system, and were passed over{such}.")


def _show_compared(console: Console, compared: Compared, shown: Sequence[Finding], inventory: Inventory) -> None:
    kinds = [kind for kind in Kind if any(found[2] is kind for found in compared.findings)]
    rows = [
        [str(line["customer"]), str(line["space"]), str(line["images"]), str(line["objects"])]
        + [str(line[kind.value]) for kind in kinds]
        for line in _summary(compared)
    ]
    if rows:
        print_table(console, ["customer", "space", "images", "objects", *kinds], rows)
    else:
        console.print("Neither the ledger nor S3 has anything there.")
    if compared.busy:
        console.print(f"{_images(compared.busy)} being worked on, or requested since this began: not compared.")
    _show_others(console, inventory)
    if not kinds:
        console.print("Ledger and S3 agree.")
        return
    console.print("")
    print_table(console, ["kind", "object", "found"], [_row(each) for each in shown])
    if (more := compared.findings.total() - len(shown)) > 0:
        console.print(f"And {more} more: --json lists all.")
    console.print("")
    for kind in kinds:
        console.print(f"{kind}: {MEANINGS[kind]}.")


def _row(finding: Finding) -> list[str]:
    return [finding.kind.value, shown_text(finding.uri), shown_text(finding.detail)]


def _show_repaired(console: Console, repairs: Repair) -> None:
    if not repairs.kinds:
        return
    repaired: Repaired = repairs.repaired
    would = "would be repaired" if repairs.dry_run else "repaired"
    parts = ", ".join(f"{repaired.objects[kind]} {kind}" for kind in Kind if repaired.objects[kind])
    console.print(f"\n{parts or 'Nothing'} {would}.")
    if repaired.restored:
        console.print(f"{repaired.restored} restored from older versions.")
    for reason, count in sorted(repaired.skipped.items()):
        console.print(f"{_images(count)} skipped: {shown_text(reason)}.")
    if repairs.dry_run:
        console.print("Nothing was changed: add --yes.")


def _summary(compared: Compared) -> list[dict[str, Any]]:
    return [
        {
            "customer": customer,
            "space": space,
            "images": compared.images[customer, space],
            "objects": compared.objects[customer, space],
            **{kind.value: compared.findings[customer, space, kind] for kind in Kind},
        }
        for customer, space in sorted(compared.images)
    ]


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
