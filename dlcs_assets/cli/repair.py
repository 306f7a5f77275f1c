"""`dlcs repair`: ends what is left without an end in the DLCS's database."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from dlcs_assets.cli.clients import make_queues
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.output import echo
from dlcs_assets.cli.send import queue_url
from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.clients.dlcs_left import LeftBatch, LeftImage
from dlcs_assets.domain.stages import Lane
from dlcs_assets.recovery.left_in_dlcs import end_left_batch, find_left, messages_for
from dlcs_assets.settings import Settings


def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be done, and do nothing.")] = False,
) -> None:
    """End what the DLCS waits for and no engine ends. Images are sent again, batches are counted again."""
    settings = load_settings()
    if settings.database_url is None:
        raise CommandError("There is no DLCS to repair: set DLCS_DATABASE_URL.")
    with open_ledger(settings) as ledger, closing(DlcsDatabase(settings.database_url.get_secret_value())) as database:
        left = find_left(database, ledger, settings)
        for image in left.images:
            echo(_of_image(image))
        for batch in left.batches:
            echo(_of_batch(batch))
        found = f"{len(left.images)} images and {len(left.batches)} batches"
        if not left.images and not left.batches:
            echo(f"Nothing has waited in the DLCS for longer than {settings.abandoned_after}.")
        elif dry_run:
            echo(f"Nothing is changed. Without --dry-run {found} would be repaired.")
        else:
            # Images first: what is sent again may be in a batch.
            sent = _send(left.images, settings) if left.images else 0
            ended = sum(end_left_batch(database, ledger, each) for each in left.batches)
            echo(f"{sent} messages sent, {ended} batches ended.")


def _send(images: tuple[LeftImage, ...], settings: Settings) -> int:
    url, now = queue_url(settings, Lane.INGEST), datetime.now(UTC)
    messages = [message for image in images for message in messages_for(image, settings, now=now)]
    with make_queues() as queues:
        queues.send(url, messages)
    return len(messages)


def _of_image(image: LeftImage) -> str:
    batches = ", ".join(map(str, image.batches))
    where = f", in batch {batches}" if batches else ""
    return f"image {image.asset_id} waits since {image.since:%Y-%m-%d %H:%M} UTC{where}"


def _of_batch(batch: LeftBatch) -> str:
    ended = batch.completed + batch.errors
    deleted = "" if ended == batch.declared else f"; {batch.declared - ended} of {batch.declared} were deleted"
    return (
        f"batch {batch.id} of customer {batch.customer} waits for no image since {batch.submitted:%Y-%m-%d %H:%M} UTC: "
        f"{batch.completed} completed, {batch.errors} with errors{deleted}"
    )
