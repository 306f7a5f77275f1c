"""Notifications of the DLCS's API about assets that it changed or deleted: taken in as requests and deletions."""

from __future__ import annotations

from dataclasses import replace

from dlcs_assets.clients.sqs import QueueMessage, Queues
from dlcs_assets.customers import customer_source
from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import IngestMessage, Named
from dlcs_assets.domain.message_attributes import texts
from dlcs_assets.domain.modified import AssetDeleted, AssetUpdated, parse_modified
from dlcs_assets.domain.stages import Lane
from dlcs_assets.intake.admission import admit, may_be_ours
from dlcs_assets.intake.messages import IntakeSummary, inbox_message, take_in_as
from dlcs_assets.ledger.ledger import Ledger
from dlcs_assets.ledger.records import InboxMessage, Rejection
from dlcs_assets.settings import Settings


def take_in_modified(queues: Queues, ledger: Ledger, settings: Settings) -> list[IntakeSummary]:
    """Take in the messages of the notification queues that are configured; return a summary for each."""

    def from_queue(url: str) -> IntakeSummary:
        return take_in_as(lambda message: read_notification(message, url, settings), queues, ledger, url, settings)

    return [from_queue(url) for url in (settings.update_queue_url, settings.delete_queue_url) if url]


def read_notification(message: QueueMessage, url: str, settings: Settings) -> list[InboxMessage]:
    """Parse one message from a queue of asset-modified notifications into what the inbox takes."""
    entry = replace(inbox_message(message, url, Lane.INGEST), sent_at=message.sent_at)
    try:
        modified = parse_modified(
            message.body,
            texts(message.attributes),
            message.sent_at,
            reads_channels=settings.database_url is None,
        )
    except MessageRejectedError as error:
        return [replace(entry, sent_at=None, rejection=_rejection(error))]
    match modified:
        case AssetDeleted():
            return [_deletion(entry, modified, settings)]
        case AssetUpdated() if modified.engine_notified or modified.roles_changed:
            return [_update(entry, modified, settings)]
        case _:
            return [entry]


def _deletion(entry: InboxMessage, deleted: AssetDeleted, settings: Settings) -> InboxMessage:
    asset_id = deleted.asset_id
    # Every subscriber of the topic gets the notifications of all customers. Of one that is configured no more there may
    # still be images here.
    is_ours = customer_source(settings).find(asset_id.customer) is not None
    named = Named(asset_id, asset_id.customer)
    return replace(entry, salvaged=named, deletion=deleted, only_registered=not is_ours)


def _update(entry: InboxMessage, updated: AssetUpdated, settings: Settings) -> InboxMessage:
    if not may_be_ours(updated.asset_id.customer, settings):
        return entry
    # A notification has only the numbers of policies, and not all that the DLCS's database says.
    fields = updated.fields if settings.database_url is None else None
    message = IngestMessage(updated.asset_id, updated.sent_at, None, fields)
    admitted = admit(replace(entry, message=message, only_stale=True), settings)
    return entry if admitted.forwarded else admitted  # the engine that has it is notified itself


def _rejection(error: MessageRejectedError) -> Rejection:
    return Rejection(error.code, error.cause, error.remedy)
