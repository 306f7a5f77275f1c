"""Everything that is registered, page by page, with its results; and requesting many images again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import Registration
from dlcs_assets.domain.request_states import RequestState
from dlcs_assets.domain.results import StageResult
from dlcs_assets.domain.stages import Lane, Stage
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.records import stage_results
from dlcs_assets.ledger.requests import NewRequest, create_requests
from dlcs_assets.ledger.tables import images, requests

PAGE = 500  # images per transaction, so that no other writer waits for long


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as it is registered, the last result of each stage, and its state."""

    asset_id: AssetId
    registration: Registration
    results: Mapping[Stage, StageResult]
    state: RequestState | None
    error_code: str | None


class Registrations:
    """All registered images, whether or not Dagster has their partition keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self, *, customer: int | None = None, space: int | None = None) -> Iterator[Entry]:
        """Yield the images of a customer, of one of its spaces, or all, in the order of their ids."""
        after = ""
        while page := self._page(after, customer, space):
            yield from page
            after = str(page[-1].asset_id)

    def request(self, wanted: Sequence[tuple[AssetId, frozenset[Stage]]], *, lane: Lane, now: datetime) -> None:
        """Request the given stages of each image. A request that no chunk has yet is superseded, stages included.

        Images that are not registered (any more) are skipped.
        """
        for start in range(0, len(wanted), PAGE):
            page = [NewRequest(asset_id, lane, now, stages=stages) for asset_id, stages in wanted[start : start + PAGE]]
            with self._database.write() as connection:
                ids = [str(new.asset_id) for new in page]
                there = set(connection.scalars(select(images.c.id).where(images.c.id.in_(ids))))
                create_requests(connection, [new for new in page if str(new.asset_id) in there], now)

    def _page(self, after: str, customer: int | None, space: int | None) -> list[Entry]:
        query = select(images.c.id, images.c.registration).where(images.c.id > after)
        if customer is not None:
            query = query.where(images.c.customer == customer)
        if space is not None:
            query = query.where(images.c.space == space)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(images.c.id).limit(PAGE)).all()
            ids = [row.id for row in rows]
            results, newest = stage_results(connection, ids), _newest(connection, ids)
        found = []
        for row in rows:
            state, code = newest.get(row.id, (None, None))
            of_stages = {stage: result for stage, (_, result) in results.get(row.id, {}).items()}
            registration = Registration.of_json(row.registration)
            found.append(Entry(AssetId.parse(row.id), registration, of_stages, state, code))
        return found


def _newest(connection: Connection, image_ids: Sequence[str]) -> dict[str, tuple[RequestState, str | None]]:
    rows = connection.execute(
        select(requests.c.image_id, requests.c.state, requests.c.error_code).where(
            requests.c.image_id.in_(image_ids), requests.c.is_current
        )
    )
    return {row.image_id: (RequestState(row.state), row.error_code) for row in rows}
