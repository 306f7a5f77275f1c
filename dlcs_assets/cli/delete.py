"""`dlcs delete`: has images deleted, everything of them in our own buckets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from dlcs_assets.cli.connection import load_settings, open_ledger
from dlcs_assets.cli.failure import CommandError
from dlcs_assets.cli.options import parse_ids
from dlcs_assets.cli.output import echo
from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.delivery import Channel
from dlcs_assets.domain.errors import IngestError, MessageRejectedError
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.ingest_spec import IngestPolicy, KnownFormat, channels_of
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.ingest.policy import ingest_policy
from dlcs_assets.ledger.reports import ImageStatus, Selection


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Images, as customer/space/asset.")],
    cdn: Annotated[bool, typer.Option("--cdn", help="Have the CDN invalidate its paths, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
) -> None:
    """Delete images. All that is stored of them in the storage and thumbnail bucket; their origins are kept."""
    chosen = parse_ids(ids)
    settings = load_settings()
    with open_ledger(settings) as ledger:
        known = {status.asset_id: status for status in ledger.reports.images(Selection(ids=chosen))}
        if unknown := [each for each in chosen if each not in known]:
            raise CommandError(f"Not known: {', '.join(unknown)}. Nothing is deleted.")
        if not yes:
            typer.confirm(f"Delete {len(chosen)} image{'' if len(chosen) == 1 else 's'}?", abort=True)
        now, policy = datetime.now(UTC), ingest_policy(settings)
        places = frozenset({"cdn"}) if cdn else frozenset[str]()
        ledger.deletions.request([deletion_of(known[each], now, places, policy) for each in chosen], now=now)
    echo(f"{len(chosen)} will be deleted within seconds, by a run of the job delete_images.")


def deletion_of(status: ImageStatus, now: datetime, places: frozenset[str], policy: IngestPolicy) -> AssetDeleted:
    """Return what asks for an image to be deleted, here and in `places`."""
    asset_id, registration = AssetId.parse(status.asset_id), status.registration
    channels = _channels(asset_id, registration, status, policy) if registration else ()
    return AssetDeleted(asset_id, now, None, places, channels)


def _channels(
    asset_id: AssetId, registration: Registration, status: ImageStatus, policy: IngestPolicy
) -> tuple[Channel, ...]:
    """Return by which channels a CDN may have the image: any, if that can't be known without its customer or policy."""
    try:
        customer = policy.customers().get(asset_id.customer)
        channels = channels_of(asset_id, registration, customer, KnownFormat.recorded(status.stages))
    except (IngestError, MessageRejectedError):
        return tuple(item.channel for item in registration.channels or ()) or tuple(Channel)
    return tuple(item.channel for item in channels)
