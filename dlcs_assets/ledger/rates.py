"""How many images ended when, and how long their stages took: counted from the runs that ended in a time.

An image counts when its run has ended, which is at most a chunk later than the image. What a person launched by hand is
in no chunk, and is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from sqlalchemy import ColumnElement, func, select

from dlcs_assets.domain.request_states import SHOWN_STATES, RequestState, ShownState
from dlcs_assets.domain.stages import Stage
from dlcs_assets.ledger.database import Database
from dlcs_assets.ledger.tables import chunk_images, chunks, outcomes, requests

SAMPLE = 40  # images whose stages are looked at, for a median


@dataclass(frozen=True, slots=True)
class Ended:
    """Images of the runs that ended in a time: by the state of their requests, and the failed ones by reason."""

    by_state: Mapping[ShownState, int] = field(default_factory=dict)
    by_reason: Mapping[str, int] = field(default_factory=dict)


class Rates:
    """Numbers of a time in the past. What they cost follows the images of that time, however large the ledger is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ended(self, since: datetime, until: datetime) -> Ended:
        """Count the images of runs that ended from `since` on and before `until`."""
        query = (
            select(requests.c.state, requests.c.error_code, func.count())
            .select_from(chunks)
            .join(chunk_images, chunk_images.c.chunk_id == chunks.c.id)
            .join(requests, requests.c.id == chunk_images.c.request_id)
            .where(*_closed(since, until))
            .group_by(requests.c.state, requests.c.error_code)
        )
        by_state: dict[ShownState, int] = {}
        by_reason: dict[str, int] = {}
        with self._database.read() as connection:
            for state, code, count in connection.execute(query):
                if state == RequestState.SUPERSEDED:
                    continue
                shown = SHOWN_STATES[state]
                by_state[shown] = by_state.get(shown, 0) + count
                if state == RequestState.FAILED:
                    by_reason[code or ""] = by_reason.get(code or "", 0) + count
        return Ended(by_state, by_reason)

    def seconds(self, since: datetime, until: datetime) -> dict[Stage, float]:
        """Return the median of the seconds that each stage took, of `SAMPLE` images of the runs of that time."""
        sample = (
            select(chunk_images.c.image_id, chunk_images.c.request_id)
            .select_from(chunks)
            .join(chunk_images, chunk_images.c.chunk_id == chunks.c.id)
            .where(*_closed(since, until))
            .limit(SAMPLE)
        )
        found: dict[Stage, list[float]] = {}
        with self._database.read() as connection:
            wanted = {(image, request) for image, request in connection.execute(sample)}
            of_these = outcomes.c.image_id.in_([image for image, _ in wanted])
            for row in connection.execute(select(outcomes).where(of_these)):
                milliseconds = row.details.facts.get("milliseconds")
                if (row.image_id, row.request_id) in wanted and isinstance(milliseconds, int | float):
                    found.setdefault(Stage(row.stage), []).append(milliseconds / 1000)
        return {stage: median(values) for stage, values in found.items()}


def _closed(since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    return chunks.c.closed_at >= since, chunks.c.closed_at < until
