"""`dlcs batch submit` and `dlcs batch missing`: what a manifest asks for, and what of it is not there yet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dlcs_assets.cli.clients import make_queues
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import FAILED, USAGE, CommandError, UsageError
from dlcs_assets.cli.options import ChannelsOption, PolicyOption, parse_channels
from dlcs_assets.cli.output import VisibleConsole, counting, echo, echo_data, make_console, print_table, state_text
from dlcs_assets.cli.send import Outgoing, messages, queue_url
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.customers import Customer, Customers
from dlcs_assets.domain.delivery import RequestedChannel
from dlcs_assets.domain.errors import PermanentError
from dlcs_assets.domain.ingest_request import BatchReference
from dlcs_assets.domain.manifest import Manifest, Row, check_manifest, read_manifest
from dlcs_assets.domain.manifest_text import Mistake
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger import Ledger
from dlcs_assets.ledger.batches import BatchImage, UnusableBatchError
from dlcs_assets.settings import Settings

SENT_AT_ONCE = 100  # after which it is known that they were
MAX_BATCH_NUMBER = 2**31 - 1

ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="CSV with a header, or a JSON object on each line.")
]
CustomerOption = Annotated[int | None, typer.Option(metavar="N", help="Customer of ids that don't name theirs.")]
SpaceOption = Annotated[int | None, typer.Option(metavar="N", help="Space of ids that don't name theirs.")]


def submit(
    manifest: ManifestArgument,
    customer: CustomerOption = None,
    space: SpaceOption = None,
    *,
    id_: Annotated[
        int | None,
        typer.Option(
            "--id", metavar="BATCH", min=1, max=MAX_BATCH_NUMBER, help="Number of the batch. Default: a free one."
        ),
    ] = None,
    channels: ChannelsOption = None,
    policy: PolicyOption = None,
    priority: Annotated[bool, typer.Option("--priority", help="Send by the priority queue.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be sent, and send nothing.")] = False,
) -> None:
    """Submit the images of a manifest as a batch. If the manifest has mistakes, report all, and send nothing."""
    settings = load_settings()
    customers = customer_source(settings).customers()
    found = read_manifest(_read(manifest), customer=customer, space=space)
    own = (settings.storage_bucket, settings.thumbs_bucket)
    unusable = check_manifest(found, customers.find, portal_bucket=settings.origin_bucket, own_buckets=own)
    _refuse(manifest, [*found.mistakes, *unusable], "nothing is sent")
    owner = _owner(found, customers)
    default = parse_channels(channels, policy, owner.policies)
    lane = Lane.PRIORITY if priority else Lane.INGEST
    with open_ledger(settings) as ledger:
        if dry_run:
            _describe(found, id_ or ledger.batches.next_id(owner.number), owner.number, lane)
            return
        queue_url(settings, lane)
        try:
            number = ledger.batches.declare(owner.number, len(found.rows), batch_id=id_, now=datetime.now(UTC))
        except UnusableBatchError as error:
            raise CommandError(str(error)) from error
    batch = BatchReference(number, len(found.rows))
    _send([_outgoing(row, default, batch, lane) for row in found.rows], settings, owner.number, batch)
    echo(f"Batch {number} of customer {owner.number}: {len(found.rows)} images submitted.")


def missing(
    manifest: ManifestArgument,
    id_: Annotated[int, typer.Option("--id", metavar="BATCH", help="The batch as which it was submitted.")],
    customer: CustomerOption = None,
    space: SpaceOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array of objects instead.")] = False,
) -> None:
    """List images of a manifest that are not done in its batch. With the reasons; status 1 if there are any."""
    found = read_manifest(_read(manifest), customer=customer, space=space, ids_only=True)
    _refuse(manifest, found.mistakes, "nothing was looked up")
    assert found.customer is not None
    with open_ledger(load_settings()) as ledger:
        absent = _missing(ledger, found, id_)
    if as_json:
        rows = [{"id": each.image_id, "state": each.state, "code": each.code, "reason": each.reason} for each in absent]
        echo_data(json.dumps(rows, indent=2))
    elif absent:
        print_table(
            make_console(),
            ("image", "state", "why"),
            [(str(each.image_id), state_text(each.state), each.reason or "") for each in absent],
        )
    else:
        echo(f"All {len(found.asset_ids)} images are done.")
    if absent:
        raise typer.Exit(FAILED)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.") from error


def _refuse(path: Path, mistakes: Sequence[Mistake], consequence: str) -> None:
    """Report all mistakes by their lines, and raise CommandError if there are any."""
    if not mistakes:
        return
    for mistake in sorted(mistakes, key=lambda mistake: mistake.line):
        echo(f"{path}:{mistake.line}: {mistake.text}", err=True)
    lines = len({mistake.line for mistake in mistakes})
    raise CommandError(
        f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'} in {lines} line{'' if lines == 1 else 's'}: "
        f"{consequence}.",
        status=USAGE,
    )


def _owner(found: Manifest, customers: Customers) -> Customer:
    assert found.customer is not None  # without mistakes there are images, and each has a customer
    return customers.get(found.customer)


def _outgoing(row: Row, default: Sequence[RequestedChannel] | None, batch: BatchReference, lane: Lane) -> Outgoing:
    assert row.asset_id is not None
    assert row.origin is not None
    return Outgoing(
        row.asset_id,
        row.origin,
        channels=default if row.channels is None else row.channels,
        max_unauthorised=row.max_unauthorised,
        roles=row.roles,
        batch=batch,
        lane=lane,
        media_type=row.media_type,
    )


def _describe(found: Manifest, number: int, customer: int, lane: Lane) -> None:
    count = len(found.rows)
    echo(f"Batch {number} of customer {customer}: {count} images would be sent by the lane {lane}.")
    spaces = Counter(f"{each.customer}/{each.space}" for each in found.asset_ids)
    for space, images in sorted(spaces.items()):
        echo(f"  {space}  {images} image{'' if images == 1 else 's'}")
    echo("Nothing is wrong with the manifest; nothing was sent.")


def _send(images: Sequence[Outgoing], settings: Settings, customer: int, batch: BatchReference) -> None:
    sent, refused = 0, dict[str, list[str]]()
    with make_queues() as queues, counting(VisibleConsole(stderr=True), "Sent", len(images)) as show:
        for start in range(0, len(images), SENT_AT_ONCE):
            part = images[start : start + SENT_AT_ONCE]
            errors = queues.send_each(queue_url(settings, part[0].lane), messages(part, settings))
            for image, error in zip(part, errors, strict=True):
                if error:
                    refused.setdefault(str(error), []).append(str(image.asset_id))
            sent += errors.count(None)
            show(sent, "")
            if any(error and not isinstance(error, PermanentError) for error in errors):
                break  # SQS does not answer: the others would fare no better
    if refused:
        reasons = "\n".join(f"{len(ids)}, such as {ids[0]}: {reason}" for reason, ids in refused.items())
        raise CommandError(
            f"Batch {batch.id} of customer {customer}: {sent} of {len(images)} images were sent, perhaps some more. "
            f"Of the others:\n{reasons}\n"
            f"To go on, submit the manifest again with --id {batch.id}: no image counts twice."
        )


def _missing(ledger: Ledger, found: Manifest, number: int) -> list[BatchImage]:
    assert found.customer is not None
    if not ledger.batches.find(number, customer=found.customer):
        raise UsageError(f"Customer {found.customer} has no batch {number}: see dlcs batch list.")
    known = {image.image_id: image for image in ledger.batches.images(number, found.customer)}
    states = (known.get(str(each), BatchImage(str(each), "not received")) for each in found.asset_ids)
    return [image for image in states if image.state != "done"]
