"""Filling in images that were found in storage, where the ledger that knew them is lost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.request_states import Event
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Lane
from dlcs_assets.ledger.comparison import FOUND
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import new_id, registration_columns
from dlcs_assets.ledger.requests import request_row
from dlcs_assets.ledger.tables import images, messages, outcomes, requests, tombstones
from dlcs_assets.ledger.transitions import Reason, add_requests
from dlcs_assets.ledger.writes import outcome_row


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image as storage has it, and perhaps the DLCS's database.

    `results` have objects and facts, but no recipe. `incomplete` is why it is to be made again, None if it is whole.
    """

    asset_id: AssetId
    registration: Registration
    results: tuple[StageResult, ...]
    stored_at: datetime
    incomplete: Reason | None = None


class Rebuilding:
    """Adds what was found. What the ledger knows already is never changed by it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_empty(self) -> bool:
        """Return whether nothing has come in yet: no image, request, message or deletion."""
        with self._database.read() as connection:
            return not any(
                connection.execute(select(table).limit(1)).first() for table in (images, requests, messages, tombstones)
            )

    def known(self, image_ids: Collection[str]) -> set[str]:
        """Return those of the images of which the ledger knows anything: a registration, a request or a deletion."""
        with self._database.read() as connection:
            return _known(connection, image_ids)

    def add(self, found: Sequence[FoundImage], *, now: datetime) -> list[str]:
        """Add the images that are not known, all in one transaction; return their ids.

        Dagster gets no event of theirs: it shows the working set, and these are not part of it.
        """
        with self._database.write() as connection:
            known = _known(connection, [str(image.asset_id) for image in found])
            new = [image for image in found if str(image.asset_id) not in known]
            if new:
                _add(connection, new, now)
        return [str(image.asset_id) for image in new]


def _known(connection: Connection, image_ids: Collection[str]) -> set[str]:
    ids = list(image_ids)
    found = set(connection.scalars(select(images.c.id).where(images.c.id.in_(ids))))
    for column in (requests.c.image_id, tombstones.c.image_id):
        found |= set(connection.scalars(select(column).where(column.in_(ids)).distinct()))
    return found


def _add(connection: Connection, found: Sequence[FoundImage], now: datetime) -> None:
    connection.execute(
        insert(images),
        [
            {
                "id": str(image.asset_id),
                "customer": image.asset_id.customer,
                "space": image.asset_id.space,
                "asserted_at": None,
                "registered_at": now,
                **registration_columns(image.registration),
            }
            for image in found
        ],
    )
    request_of = {image.asset_id: new_id() for image in found}
    whole, incomplete = [], []
    for image in found:
        ended = min(image.stored_at, now)
        row: dict[str, Any] = {
            **request_row(request_of[image.asset_id], image.asset_id, lane=Lane.MANUAL, due_at=ended, now=ended),
            "finished_at": ended,
        }
        if image.incomplete is None:
            whole.append(row)
        else:
            reason = image.incomplete
            error = {"error_code": reason.code, "error_cause": reason.cause, "error_remedy": reason.remedy}
            incomplete.append({**row, **error, "error_stage": reason.stage})
    add_requests(connection, Event.FOUND, whole)
    add_requests(connection, Event.FOUND_INCOMPLETE, incomplete)
    made = [(image.asset_id, result) for image in found for result in image.results]
    if made:
        connection.execute(
            insert(outcomes),
            [
                outcome_row(asset_id, result, request_of[asset_id], now, run_id=FOUND, reported=True)
                for asset_id, result in made
            ],
        )
