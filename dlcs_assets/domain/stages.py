"""The stages of an image's way, the outcomes in which each may end, and the lanes by which requests come."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Stage(StrEnum):
    """A stage of ingest; its value is the name of the Dagster asset."""

    ORIGINAL = "original"
    JP2 = "jp2"
    THUMBNAILS = "thumbnails"


STAGES: tuple[Stage, ...] = (Stage.ORIGINAL, Stage.JP2, Stage.THUMBNAILS)


class Outcome(StrEnum):
    """How a stage ended well: metadata in Dagster, a column in the ledger, a word in the CLI."""

    FETCHED = "fetched, not kept"
    AT_ORIGIN = "at its origin"
    KEPT = "kept"
    KEPT_FOR_THUMBNAILS = "kept for the thumbnails only"
    CONVERTED = "converted"
    COPIED = "copied"
    MADE = "made"
    NOT_REQUIRED = "not required"


class Lane(StrEnum):
    """The way by which a request came in; each lane is dispatched by itself."""

    INGEST = "ingest"
    PRIORITY = "priority"
    RETRY = "retry"
    BACKFILL = "backfill"
    MANUAL = "manual"
    DELETE = "delete"

    def or_better(self, others: Iterable[Lane]) -> Lane:
        """Return the lane of a request that takes the place of others: what was urgent stays so, but for a deletion."""
        if self is Lane.DELETE:
            return self
        return min((self, *(lane for lane in others if lane is not Lane.DELETE)), key=MOST_URGENT_FIRST.index)


MOST_URGENT_FIRST = (Lane.PRIORITY, Lane.MANUAL, Lane.INGEST, Lane.RETRY, Lane.BACKFILL)
