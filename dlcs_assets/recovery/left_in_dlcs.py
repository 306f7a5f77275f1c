"""What the DLCS waits for and no engine ends, found in its database: images are asked for again, batches counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dlcs_assets.clients.dlcs_database import DlcsDatabase
from dlcs_assets.clients.dlcs_left import LeftBatch, LeftImage, end_batch, left_batches, left_images
from dlcs_assets.clients.sqs import NewMessage
from dlcs_assets.domain.message_attributes import INGEST_TYPE, MessageAttribute
from dlcs_assets.ingest.write_back import batch_of
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class Left:
    """Images that the DLCS waits for and that are not in progress here, and batches that wait for no image."""

    images: tuple[LeftImage, ...]
    batches: tuple[LeftBatch, ...]


def find_left(database: DlcsDatabase, ledger: Ledger, settings: Settings) -> Left:
    """Return what has had no end for longer than the setting. Nothing is changed."""
    images = left_images(database, settings.abandoned_after)
    here = ledger.write_backs.in_progress([str(each.asset_id) for each in images])
    return Left(
        tuple(each for each in images if str(each.asset_id) not in here),
        tuple(left_batches(database, settings.abandoned_after)),
    )


def messages_for(image: LeftImage, settings: Settings, *, now: datetime) -> Iterator[NewMessage]:
    """Yield what the API would send for the image: either engine can take it."""
    attributes = {INGEST_TYPE: MessageAttribute("String", settings.ingest_type)}
    customer, space, asset = image.asset_id.customer, image.asset_id.space, image.asset_id.asset
    for batch in image.batches or (None,):
        body = {
            "created": now.isoformat(),
            "id": {"customer": customer, "space": space, "asset": asset},
            "batchId": batch,
        }
        yield NewMessage(json.dumps(body), attributes)


def end_left_batch(database: DlcsDatabase, ledger: Ledger, left: LeftBatch) -> bool:
    """Count a batch by what is left of it, and have that announced; return whether it has ended by this."""
    ended = end_batch(database, left.id)
    if ended is not None:
        ledger.write_backs.report_finished(batch_of(ended), now=datetime.now(UTC))
    return ended is not None
