"""What was last taken in of each object that is an upload, so that nothing is taken in twice or brought back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Row, delete, insert, select, update

from dlcs_assets.domain.request_states import MessageState
from dlcs_assets.domain.text import is_storable
from dlcs_assets.domain.upload import Upload, UploadStatus, classify_upload, is_later
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import InboxMessage
from dlcs_assets.ledger.tables import messages, uploads


class Uploads:
    """What is known of the objects of buckets. It is written where messages are taken in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unknown(self, bucket: str, listed: Sequence[InboxMessage]) -> list[InboxMessage]:
        """Leave out, of what a listing of the bucket gave, what was taken in before, or rejected for what it is."""
        keys = [entry.upload.key for entry in listed if entry.upload and is_storable(entry.upload.key)]
        with self._database.read() as connection:
            taken = set(
                connection.scalars(select(messages.c.id).where(messages.c.id.in_([entry.id for entry in listed])))
            )
            rows = connection.execute(select(uploads).where(uploads.c.bucket == bucket, uploads.c.key.in_(keys))).all()
        known = {row.key: _upload(row) for row in rows}
        return [
            entry
            for entry in listed
            if entry.upload
            and entry.id not in taken
            and not ((before := known.get(entry.upload.key)) and entry.upload.same_object(before))
        ]


def is_new_upload(connection: Connection, received: InboxMessage, now: datetime) -> bool:
    """Return whether the image of a message must be ingested: not if it reports a known upload."""
    if received.upload is None:
        return True
    row = _row(connection, received.upload)
    verdict = classify_upload(received.upload, _upload(row) if row else None, row.seen_at if row else None)
    if verdict is UploadStatus.KNOWN:
        remember(connection, received, now, reported_by_both=True)
    return verdict is UploadStatus.INGEST


def remember(connection: Connection, received: InboxMessage, now: datetime, *, reported_by_both: bool = False) -> None:
    """Note what was taken in of an object, if the message is of one."""
    if (reported := received.upload) is None:
        return
    row = _row(connection, reported)
    sequencers = [each for each in (reported.sequencer, row.sequencer if row else None) if each]
    if len(sequencers) == 2 and is_later(sequencers[1], sequencers[0]):  # noqa: PLR2004 (both)
        sequencers.reverse()
    values = {
        "image_id": str(received.message.asset_id) if received.message else None,
        "sequencer": sequencers[0] if sequencers else None,
        "etag": reported.etag,
        "size": reported.size,
        "only_listed": reported.listed_at is not None and not reported_by_both,
        "seen_at": now,
    }
    if row:
        connection.execute(
            update(uploads).where(uploads.c.bucket == reported.bucket, uploads.c.key == reported.key).values(**values)
        )
    else:
        connection.execute(insert(uploads).values(bucket=reported.bucket, key=reported.key, **values))


def forget_requeued(connection: Connection, received: Sequence[InboxMessage]) -> None:
    """Let events that were sent to their queue again pass: they come with the id that they had."""
    ids = [entry.id for entry in received if entry.upload]
    if ids:
        connection.execute(delete(messages).where(messages.c.id.in_(ids), messages.c.state == MessageState.REQUEUED))


def _row(connection: Connection, reported: Upload) -> Row[tuple[object, ...]] | None:
    return connection.execute(
        select(uploads).where(uploads.c.bucket == reported.bucket, uploads.c.key == reported.key)
    ).one_or_none()


def _upload(row: Row[tuple[object, ...]]) -> Upload:
    listed_at = row.seen_at if row.only_listed else None
    return Upload(row.bucket, row.key, row.etag, row.size, row.sequencer, listed_at=listed_at)
