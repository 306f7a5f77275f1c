"""The records that go in and out of the ledger, and their conversion from and to rows."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from dlcs_assets.domain.asset_id import AssetId
from dlcs_assets.domain.ingest_request import IngestMessage, Named, Registration
from dlcs_assets.domain.message_attributes import MessageAttribute
from dlcs_assets.domain.modified import AssetDeleted
from dlcs_assets.domain.results import ObjectKind, ObjectRecord, StageResult
from dlcs_assets.domain.s3_uri import parse_s3_uri
from dlcs_assets.domain.stages import STAGES, Lane, Outcome, Stage
from dlcs_assets.domain.upload import Upload
from dlcs_assets.ledger.tables import attempts, outcomes, transient_objects


def new_id(moment: datetime | None = None) -> str:
    """Return 32 hex digits that sort by time of creation, which is now or a given moment."""
    nanoseconds = time.time_ns() if moment is None else int(moment.timestamp() * 1e9)
    return f"{nanoseconds:016x}{secrets.token_hex(8)}"


def created_at(new: str) -> datetime:
    """Return when `new_id` made an id."""
    return datetime.fromtimestamp(int(new[:16], 16) / 1e9, UTC)


def slices(ids: Sequence[str], size: int = 1000) -> Iterator[Sequence[str]]:
    """Yield the ids in slices: for a transaction each, so that no other writer waits for long."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def stages_text(stages: Iterable[Stage]) -> str:
    """Write a set of stages as a column value, in the order of work."""
    chosen = set(stages)
    return ",".join(stage for stage in STAGES if stage in chosen)


def stages_of(text: str) -> frozenset[Stage]:
    """Read what `stages_text` wrote."""
    return frozenset(Stage(word) for word in text.split(",") if word)


def registration_columns(registration: Registration) -> dict[str, Any]:
    """Return the columns of an image that its registration decides about."""
    location = parse_s3_uri(registration.origin)
    return {
        "registration": registration.to_json(),
        "origin_bucket": location.bucket if location else None,
        "origin_key": location.key if location else None,
    }


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a message cannot become a request."""

    code: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message as received and parsed: to be accepted, rejected, or (both None) noted and ignored.

    `salvaged` is what could be read from a message that could not be parsed, `upload` the object that an S3 event
    reports. `attributes` are what its sender said of it. `deletion` asks for the image to be deleted, with
    `only_registered` if it is registered here; `only_stale`: only the stages that the message makes stale are made
    again.
    """

    id: str
    queue: str
    lane: Lane
    body: str
    message: IngestMessage | None = None
    rejection: Rejection | None = None
    forwarded: bool = False
    salvaged: Named | None = None
    upload: Upload | None = None
    sent_at: datetime | None = None
    deletion: AssetDeleted | None = None
    only_stale: bool = False
    only_registered: bool = False
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)

    @property
    def named(self) -> Named:
        """The image, customer and batch that the message names."""
        if self.message is None:
            return self.salvaged or Named()
        return Named(self.message.asset_id, self.message.asset_id.customer, self.message.batch)


@dataclass(frozen=True, slots=True)
class IntakeCount:
    """What became of the messages of one intake."""

    accepted: int = 0
    waiting: int = 0
    rejected: int = 0
    ignored: int = 0
    forwarded: int = 0
    duplicates: int = 0

    def __add__(self, other: IntakeCount) -> IntakeCount:
        """Return the sum of both."""
        mine, theirs = asdict(self), asdict(other)
        return IntakeCount(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, slots=True)
class DueImage:
    """A pending request whose time has come and whose image no run holds.

    `losses`: how many runs died while they worked on the image.
    """

    request_id: str
    asset_id: AssetId
    stages: frozenset[Stage]
    batch: int | None
    losses: int = 0
    backfill: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The images of one run to be: all of one customer, one space and one lane. `id` is the run key."""

    id: str
    lane: Lane
    customer: int
    space: int
    stages: frozenset[Stage]
    first_key: str
    last_key: str
    images: tuple[DueImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a request that has ended: in which run, when, with which state and for which reason."""

    number: int
    run_id: str
    ended_at: datetime
    result: str
    error_code: str | None = None
    error_stage: str | None = None
    error_cause: str | None = None


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """When an image whose attempt failed for a passing reason is tried again, and how often.

    `writes_back`: a DLCS waits to hear how it ends.
    """

    attempts: int
    delay: timedelta
    writes_back: bool = False

    def next_due(self, now: datetime, attempts_made: int, asked: timedelta | None = None) -> datetime:
        """Double the delay for each attempt made, up to an hour; wait at least as long as the service asked."""
        doubled = self.delay * (1 << min(max(attempts_made - 1, 0), 20))
        delay = min(doubled, max(self.delay, timedelta(hours=1)))
        return now + max(delay, asked or timedelta(0))


@dataclass(frozen=True, slots=True)
class RecordedResults:
    """What images have: by image and stage, under which request the last result came about, and that result.

    `objects` are those that are stored, transient ones among them, in the order of their keys.
    """

    of_stages: Mapping[str, Mapping[Stage, tuple[str, StageResult]]]
    objects: Mapping[str, Sequence[ObjectRecord]]


def stage_results(
    connection: Connection, image_ids: Sequence[str]
) -> Mapping[str, Mapping[Stage, tuple[str, StageResult]]]:
    """Return `RecordedResults.of_stages` of these images."""
    return _of_stages(_outcomes_of(connection, image_ids))


def recorded_results(connection: Connection, image_ids: Sequence[str]) -> RecordedResults:
    """Return what these images have."""
    rows = _outcomes_of(connection, image_ids)
    stored: dict[str, list[ObjectRecord]] = {}
    for row in rows:
        if row.details.holdings:
            stored.setdefault(row.image_id, []).extend(each.record for each in row.details.holdings)
    for row in connection.execute(select(transient_objects).where(transient_objects.c.image_id.in_(image_ids))):
        record = ObjectRecord(row.bucket, row.key, ObjectKind.TRANSIENT, row.bytes, row.sha256, row.content_type)
        stored.setdefault(row.image_id, []).append(record)
    for records in stored.values():
        records.sort(key=lambda record: record.key)
    return RecordedResults(_of_stages(rows), stored)


def _outcomes_of(connection: Connection, image_ids: Sequence[str]) -> Sequence[Row[Any]]:
    return connection.execute(select(outcomes).where(outcomes.c.image_id.in_(image_ids))).all()


def _of_stages(rows: Iterable[Row[Any]]) -> Mapping[str, Mapping[Stage, tuple[str, StageResult]]]:
    found: dict[str, dict[Stage, tuple[str, StageResult]]] = {}
    for row in rows:
        found.setdefault(row.image_id, {})[Stage(row.stage)] = (row.request_id, stage_result(row))
    return found


def stage_result(row: Row[Any]) -> StageResult:
    """Read a row of `outcomes`, without its objects."""
    details = row.details
    return StageResult(
        Stage(row.stage), Outcome(row.outcome), details.data_version, details.facts, recipe=details.recipe or {}
    )


def ended_attempts(connection: Connection, request_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """Return the attempts at each request that have ended, the first one first."""
    found: dict[str, list[Attempt]] = {}
    query = select(attempts).where(attempts.c.request_id.in_(request_ids)).order_by(attempts.c.number)
    for row in connection.execute(query):
        attempt = Attempt(
            row.number, row.run_id, row.ended_at, row.result, row.error_code, row.error_stage, row.error_cause
        )
        found.setdefault(row.request_id, []).append(attempt)
    return found
