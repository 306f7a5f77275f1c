"""Requests that what is registered has overtaken: deletions of images that are there again, ingests of deleted ones.

A run that holds an image comes to its end first. Therefore this is asked wherever a request leaves a run, is about to
be given to one or is taken up again, and not only where an image is registered or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.request_states import Event, RequestState
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.records import new_id
from dlcs_assets.ledger.requests import NewRequest, create_requests, request_row
from dlcs_assets.ledger.tables import images, requests, tombstones
from dlcs_assets.ledger.transitions import Reason, add_requests, change_state

_IS_DELETION: Final = requests.c.lane == Lane.DELETE
_IS_REGISTERED: Final = exists().where(images.c.id == requests.c.image_id)
_DELETION: Final = select(tombstones.c.request_id).where(tombstones.c.image_id == requests.c.image_id).scalar_subquery()
IMAGE_DELETED: Final = Reason(
    "image_deleted",
    "The image was deleted before it was ingested",
    "Register it again with a full ingest message, if it is to be there after all",
)


def end_overtaken(connection: Connection, *where: ColumnElement[bool], now: datetime, waiting: bool = False) -> None:
    """End those of the requests that are not what is wanted of their images any more, except in runs.

    `waiting`: also those that wait for a registration; they are overtaken by a deletion only at the moment of it.
    """
    change_state(connection, Event.REGISTERED_AGAIN, *where, _IS_DELETION, _IS_REGISTERED, now=now)
    replaced = (_IS_DELETION, ~_IS_REGISTERED, requests.c.id != _DELETION)
    change_state(connection, Event.DELETION_REPEATED, *where, *replaced, now=now, superseded_by=_DELETION)
    unwanted = [~_IS_DELETION, ~_IS_REGISTERED]
    if not waiting:
        unwanted.append(requests.c.state != RequestState.WAITING)
    change_state(connection, Event.IMAGE_DELETED, *where, *unwanted, now=now, failure=IMAGE_DELETED)


def request_again(connection: Connection, asset_id: AssetId, now: datetime) -> None:
    """Request what is registered of the image from scratch: its ingest, or its deletion."""
    image_id = str(asset_id)
    if connection.scalar(select(images.c.id).where(images.c.id == image_id)) is not None:
        create_requests(connection, [NewRequest(asset_id, Lane.RETRY, now)], now)
        return
    tombstone = connection.execute(select(tombstones).where(tombstones.c.image_id == image_id)).mappings().one_or_none()
    if tombstone is not None:
        bury(connection, asset_id, tombstone["asserted_at"], tombstone["detail"], now)


def bury(
    connection: Connection, asset_id: AssetId, asserted_at: datetime, detail: Mapping[str, object], now: datetime
) -> str:
    """Write the tombstone of an image that is not registered any more, and request its deletion; return the request."""
    image_id, request_id = str(asset_id), new_id()
    connection.execute(delete(tombstones).where(tombstones.c.image_id == image_id))
    connection.execute(
        insert(tombstones).values(
            image_id=image_id,
            customer=asset_id.customer,
            space=asset_id.space,
            asserted_at=asserted_at,
            request_id=request_id,
            detail=dict(detail),
        )
    )
    row = request_row(request_id, asset_id, lane=Lane.DELETE, stages=frozenset(), due_at=now, now=now)
    add_requests(connection, Event.REQUESTED, [row])
    end_overtaken(connection, requests.c.image_id == image_id, now=now, waiting=True)
    return request_id
