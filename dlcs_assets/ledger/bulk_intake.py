"""Images that the ledger has never heard of: most of a backlog, and written many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, union_all

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration, register
from dlcs_assets.domain.s3_uri import parse_s3_uri
from dlcs_assets.domain.stages import RequestState
from dlcs_assets.ledger.accounting import RegistrationCheck
from dlcs_assets.ledger.records import InboxMessage, new_id
from dlcs_assets.ledger.requests import request_row
from dlcs_assets.ledger.tables import images, requests, tombstones


class Newcomers:
    """The new images among those of some messages, in one transaction that writes.

    Of an image that is in no table there is nothing to compare with, to supersede or to bring back: its rows wait here
    until `write`, which must be called before anything else is asked about these images, and at the end.
    """

    def __init__(self, connection: Connection, received: Sequence[InboxMessage], now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._images: list[dict[str, Any]] = []
        self._requests: list[dict[str, Any]] = []
        named = {str(message.named.asset_id) for message in received if message.named.asset_id}
        columns = (images.c.id, tombstones.c.image_id, requests.c.image_id)
        heard_of = union_all(*(select(column).where(column.in_(named)) for column in columns))
        self._unheard = named - set(connection.scalars(heard_of)) if named else set()

    def add(self, received: InboxMessage, check: RegistrationCheck) -> str | None:
        """Register the image and ask for it, if it is new; return the request's id. Raises MessageRejectedError.

        None: it is not new, or there is more to it than that; what was added is in the tables now.
        """
        message = received.message
        if message is None:
            return None
        image_id = str(message.asset_id)
        if image_id not in self._unheard or message.asset is None or received.only_outdated:
            self.mark_known(message.asset_id)
            return None
        self._unheard.discard(image_id)
        registration = register(message.asset, None)
        check(message.asset_id, registration)
        self._images.append(
            {
                "id": image_id,
                "customer": message.asset_id.customer,
                "space": message.asset_id.space,
                "registered_at": self._now,
                **registration_values(registration),
                "asserted_at": message.created,
            }
        )
        request_id = new_id()
        self._requests.append(
            request_row(
                request_id,
                message.asset_id,
                lane=received.lane,
                state=RequestState.PENDING,
                due_at=self._now,
                now=self._now,
                batch=message.batch.id if message.batch else None,
            )
        )
        return request_id

    def mark_known(self, asset_id: AssetId) -> None:
        """Take an image for known, and write what was added: something else is about to be done with it."""
        self._unheard.discard(str(asset_id))
        self.write()

    def write(self) -> None:
        """Write what was added."""
        for table, rows in ((images, self._images), (requests, self._requests)):
            if rows:
                self._connection.execute(insert(table), rows)
                rows.clear()


def registration_values(registration: Registration) -> dict[str, Any]:
    """Return the columns of an image that its registration decides about."""
    location = parse_s3_uri(registration.origin)
    return {
        "registration": registration.to_json(),
        "origin_bucket": location.bucket if location else None,
        "origin_key": location.key if location else None,
    }
