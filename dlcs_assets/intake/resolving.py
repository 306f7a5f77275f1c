"""Messages that name an image by its id only: with a DLCS, what its database has on record of the image is meant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dlcs_assets.clients.dlcs_database import DlcsAsset, DlcsDatabase
from dlcs_assets.domain.errors import IngestError
from dlcs_assets.domain.text import shown_text
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets.settings import Settings


@dataclass(frozen=True)
class Resolved:
    """What became of entries whose messages have an id only, by their id.

    `error` is why the DLCS could not be asked: these entries must wait, whatever it is.
    """

    entries: dict[str, InboxMessage] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    error: IngestError | None = None


def resolve(inbox: Sequence[InboxMessage], settings: Settings) -> Resolved:
    """Fill in what the DLCS has on record of images that are named only; reject what it has no more."""
    named = {
        entry.id: str(entry.message.asset_id)
        for entry in inbox
        if entry.message and entry.message.asset is None and not entry.rejection
    }
    if settings.database_url is None or not named:
        return Resolved()
    asked_at = datetime.now(UTC)
    try:
        with closing(DlcsDatabase(settings.database_url.get_secret_value())) as database:
            assets = database.assets(sorted(set(named.values())), of_any_family=True)
    except IngestError as error:
        return Resolved(waiting=frozenset(named), error=error)
    return Resolved(
        {
            entry.id: _resolved(entry, assets.get(named[entry.id]), asked_at, settings)
            for entry in inbox
            if entry.id in named
        }
    )


def _resolved(entry: InboxMessage, asset: DlcsAsset | None, asked_at: datetime, settings: Settings) -> InboxMessage:
    assert entry.message is not None
    if asset is None and entry.only_stale:
        return replace(entry, message=None)  # a notification of what is gone by now
    if asset is None:
        rejection = Rejection(
            "asset_not_in_dlcs",
            f"The DLCS has no asset {entry.message.asset_id}",
            "It was deleted after the message was sent. If it is there again: dlcs rejected --requeue",
        )
        return replace(entry, rejection=rejection)
    if asset.odd:
        if settings.forward_queue_url:
            return replace(entry, message=None, forwarded=True)
        rejection = Rejection(
            "unknown_channel",
            f"{entry.message.asset_id} has in the DLCS what is not known here: {shown_text(', '.join(asset.odd))}",
            "Set DLCS_FORWARD_QUEUE_URL to the queue of the engine that does it; then: dlcs rejected --requeue",
        )
        return replace(entry, rejection=rejection)
    # It was so when the DLCS was asked: whatever was registered before that is older.
    return replace(entry, message=replace(entry.message, created=asked_at, asset=asset.fields))
