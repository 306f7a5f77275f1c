"""`dlcs ingest`: sends messages for a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from dlcs_assets.cli.clients import load_customer, make_storage
from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import FAILED, CommandError
from dlcs_assets.cli.options import ChannelsOption, PolicyOption, parse_channels
from dlcs_assets.cli.output import VisibleConsole, counting, echo, echo_data, make_console, print_table, state_text
from dlcs_assets.cli.progress import Follower, follow
from dlcs_assets.cli.send import Outgoing, check, queue_url, send_each, upload
from dlcs_assets.cli.sources import Source, find_sources, name_sources, require_images
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.ingest_request import BatchReference
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.stages import Lane
from dlcs_assets.domain.upload import sent_key
from dlcs_assets.ledger.reports import ImageStatus
from dlcs_assets.settings import Settings

IMAGE_CHANNELS = frozenset({Channel.IIIF_IMG, Channel.THUMBS})


def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="PATH|URL|S3-URI", help="Files, folders (their images), http(s) or s3 addresses."),
    ],
    customer: Annotated[int, typer.Option(metavar="N", help="Customer of the images.")] = 2,
    space: Annotated[int, typer.Option(metavar="N", help="Space of the images.")] = 1,
    *,
    id_: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Name of the image, or customer/space/name. Default: the file name."),
    ] = None,
    channels: ChannelsOption = None,
    policy: PolicyOption = None,
    batch: Annotated[int | None, typer.Option(metavar="N", min=1, help="Batch that the images belong to.")] = None,
    max_unauthorised: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=-1, help="Longest edge that everyone may see; -1: no limit."),
    ] = None,
    roles: Annotated[
        str | None, typer.Option(metavar="ROLES", help="Roles that may see the images, separated by commas.")
    ] = None,
    priority: Annotated[bool, typer.Option("--priority", help="Send by the priority queue.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all have ended; status 1 if one failed.")] = False,
) -> None:
    """Send images to be ingested; files are uploaded first. Prints their ids."""
    found, skipped = find_sources(sources)
    ids = name_sources(found, customer, space, id_)
    settings = load_settings()
    requested = parse_channels(channels, policy, load_customer(settings, ids[0].customer).policies)
    if not requested or any(each.channel in IMAGE_CHANNELS for each in requested):
        require_images(found)
    lane = Lane.PRIORITY if priority else Lane.INGEST
    queue_url(settings, lane)
    images = [
        Outgoing(
            asset_id,
            source.address or _upload_origin(asset_id, settings),
            channels=requested,
            max_unauthorised=max_unauthorised,
            roles=None if roles is None else [role.strip() for role in roles.split(",") if role.strip()],
            batch=None if batch is None else BatchReference(batch),
            lane=lane,
        )
        for source, asset_id in zip(found, ids, strict=True)
    ]
    for image in images:
        check(image, settings)
    if skipped:
        echo(f"Skipped in folders: {_not_images(skipped)}.", err=True)
    console = make_console()
    failed = _upload(VisibleConsole(stderr=True), found, images, settings)
    ended: list[ImageStatus] = []
    if wait:
        with open_ledger(settings) as ledger:
            follower = Follower(ledger, [str(image.asset_id) for image in images if image.asset_id not in failed])
            sent = _send(images, settings, failed)
            follower = follower if len(sent) == len(images) else Follower(ledger, [str(each) for each in sent])
            ended = [status for status in follow(console, follower).values() if status]
        _print_results(console, ended)
    else:
        _send(images, settings, failed)
    for asset_id, error in failed.items():
        echo(f"{asset_id} was not sent: {error}", err=True)
    if failed or any(status.state != "done" for status in ended):
        raise typer.Exit(FAILED)


def _send(
    images: Sequence[Outgoing], settings: Settings, failed: dict[AssetId, IngestError | OSError]
) -> list[AssetId]:
    """Send those that have not failed, and print their ids; note in `failed` what fails now."""
    images = [image for image in images if image.asset_id not in failed]
    failed |= send_each(images, settings)
    sent = [image.asset_id for image in images if image.asset_id not in failed]
    for asset_id in sent:
        echo_data(str(asset_id))
    return sent


def _not_images(count: int) -> str:
    return "1 file that is not an image" if count == 1 else f"{count} files that are not images"


def _upload_origin(asset_id: AssetId, settings: Settings) -> str:
    if settings.origin_bucket is None:
        raise CommandError(
            "Files are uploaded to the origin bucket, and none is configured: set DLCS_ORIGIN_BUCKET, "
            "or give an address from which the image can be fetched."
        )
    return S3Location(settings.origin_bucket, sent_key(asset_id)).uri()


def _upload(
    console: Console, sources: Sequence[Source], images: Sequence[Outgoing], settings: Settings
) -> dict[AssetId, IngestError | OSError]:
    """Upload the files among the images; return why some could not be uploaded."""
    files = [
        (image.asset_id, source.path) for source, image in zip(sources, images, strict=True) if source.path is not None
    ]
    if not files or settings.origin_bucket is None:
        return {}
    storage = make_storage(settings)
    try:
        with counting(console, "Uploaded", len(files)) as show:
            return upload(storage, files, settings.origin_bucket, lambda done: show(done, ""))[1]
    finally:
        storage.close()


def _print_results(console: Console, ended: Sequence[ImageStatus]) -> None:
    print_table(
        console,
        ("image", "state", "why"),
        [(status.asset_id, state_text(status.state), status.reason or "") for status in ended],
    )
