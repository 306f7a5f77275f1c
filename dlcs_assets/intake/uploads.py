"""From S3 events to what the inbox takes: which image an object is, or why it is not one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dlcs_assets.domain.errors import MessageRejectedError
from dlcs_assets.domain.ingest_request import AssetFields, IngestMessage
from dlcs_assets.domain.s3_event import S3Event, S3Record
from dlcs_assets.domain.s3_uri import S3Location
from dlcs_assets.domain.upload import Upload, asset_of_key, is_no_upload
from dlcs_assets.ledger.records import InboxMessage, Rejection


def read_record(record: S3Record, entry: InboxMessage) -> InboxMessage:
    """Fill an entry with one record of an S3 message; its id stays only where the event has none of its own."""
    if isinstance(record.event, MessageRejectedError):
        return replace(entry, rejection=_rejection(record.event))
    return read_event(record.event, entry)


def read_event(event: S3Event, entry: InboxMessage, *, listed_at: datetime | None = None) -> InboxMessage:
    """Fill an entry with an event, or with an object that a listing had at `listed_at`."""
    upload = Upload(event.bucket, event.key, event.etag, event.size, event.sequencer, event.time, listed_at)
    if not event.is_upload or is_no_upload(event.key):
        return entry
    entry = replace(entry, id=upload.inbox_id() or entry.id, upload=upload)
    try:
        asset_id = asset_of_key(event.key)
    except MessageRejectedError as error:
        return replace(entry, rejection=_rejection(error))
    fields = AssetFields(origin=S3Location(event.bucket, event.key).uri())
    return replace(entry, message=IngestMessage(asset_id, created=event.time, asset=fields))


def _rejection(error: MessageRejectedError) -> Rejection:
    return Rejection(error.code, error.cause, error.remedy)
