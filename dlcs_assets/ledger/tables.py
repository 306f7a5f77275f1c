"""The ledger's tables, as they are today. How older ones become these is in `migrations`.

An image's state is that of its current request: the unfinished one, or else the newest that had an effect. Totals are
sums and counts of rows, so that they cannot drift, but for `image_counts`, which the database itself keeps, and
`backfill_counts`, which the one writer of requests does. Where the
rules of retention allow it, relations are foreign keys: docs/decisions/0031 says where not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    false,
    text,
    true,
)

from dlcs_assets.domain.request_states import ENDED, SUCCESSFUL, TAKEN, TRANSITIONS, MessageState, RequestState
from dlcs_assets.domain.stages import Lane, Outcome, Stage
from dlcs_assets.ledger import triggers
from dlcs_assets.ledger.column_types import SanitizedText
from dlcs_assets.ledger.details import PackedDetails
from dlcs_assets.ledger.encryption import EncryptedJson, EncryptedText

SCHEMA_VERSION = "0018"  # of the newest file in migrations/versions


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in, aware datetimes out; stored as naive UTC, which every database compares rightly."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (its signature)
        """Write it as naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (its signature)
        """Read it as aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


# How an attempt may end: what follows on `running`.
_ENDS = {each.after for each in TRANSITIONS.values() if RequestState.RUNNING in each.before}
REPLACED = text("superseded_by IS NOT NULL")  # few: the index costs little
# Conditions of indexes, word by word as queries have them: SQLite finds an index of some of the rows by its words only.
ENDED_OTHERWISE = text("state NOT IN ('waiting', 'pending', 'reserved', 'running', 'done')")
REFUSED = text("state = 'rejected'")
OF_PRIORITY = text("lane = 'priority'")
IN_BACKFILL = text("backfill IS NOT NULL")

metadata = MetaData()


def _one_of(table: str, column: str, values: Iterable[str]) -> CheckConstraint:
    """Return the constraint that a column holds one of these values (or none, if it is nullable)."""
    return CheckConstraint(f"{column} IN ({_listed(values)})", name=f"{table}_{column}")


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


images = Table(
    "images",
    metadata,
    Column("id", String(220), primary_key=True),
    Column("customer", Integer, nullable=False),
    Column("space", Integer, nullable=False),
    Column("registration", EncryptedJson, nullable=False),
    Column("asserted_at", UtcDateTime, comment="`created` of the message that the registration is from"),
    Column("registered_at", UtcDateTime, nullable=False),
    Column("origin_bucket", String(100), comment="of an origin in S3, so that no clean-up deletes somebody's origin"),
    Column("origin_key", SanitizedText),
    Index("images_by_space", "customer", "space"),
    Index("images_by_origin", "origin_bucket", "origin_key"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("image_id", String(220), primary_key=True),
    Column("customer", Integer, nullable=False),
    Column("space", Integer, nullable=False),
    Column("asserted_at", UtcDateTime, nullable=False, comment="when the deletion was said; what was said later holds"),
    Column("deleted_at", UtcDateTime, comment="when everything of the image had been deleted"),
    Column("request_id", String(32), nullable=False, comment="of the deletion"),
    Column("detail", JSON, nullable=False, comment="the customer's name, from where else to delete, the channels"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("bucket", String(100), nullable=False),
    Column("key", String(500), nullable=False),
    Column("image_id", String(220)),
    Column("sequencer", String(100), comment="orders the events of one key"),
    Column("etag", String(100)),
    Column("size", BigInteger),
    Column("only_listed", Boolean, nullable=False, comment="found by a listing; its event may still come"),
    Column("seen_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("bucket", "key"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(32), primary_key=True, comment="sorts by time of creation"),
    Column("image_id", String(220), nullable=False),
    Column("customer", Integer, nullable=False),
    Column("space", Integer, nullable=False),
    Column("lane", String(20), nullable=False),
    Column("stages", String(60), nullable=False),
    Column("batch", Integer),
    Column("state", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, default=0),
    Column("chunk_id", String(32)),
    Column("superseded_by", String(32)),
    Column("error_code", String(100)),
    Column("error_stage", String(20)),
    Column("error_cause", SanitizedText),
    Column("error_remedy", SanitizedText),
    Column("is_current", Boolean, nullable=False, server_default=false(), comment="its state is that of the image"),
    Column(
        "renews",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="asked for by a person, of what is registered: if its origin cannot be read, what is there stays",
    ),
    Column("backfill", Integer, comment="an id; of requests that are in one"),
    Column(
        "is_reported",
        Boolean,
        nullable=False,
        server_default=true(),
        comment="whether Dagster has why it failed; true of what did not fail",
    ),
    Index(
        "requests_current",
        "state",
        "customer",
        "space",
        "image_id",
        sqlite_where=text("is_current = 1"),  # as either database gets it in queries
        postgresql_where=text("is_current"),
    ),
    Index(
        "requests_current_by_reason",
        "state",
        "error_code",
        "customer",
        "space",
        "image_id",
        sqlite_where=text("is_current = 1 AND error_code IS NOT NULL"),  # few: it costs what goes well nothing
        postgresql_where=text("is_current AND error_code IS NOT NULL"),
    ),
    Index(
        "requests_due",
        "state",
        "lane",
        "customer",
        "due_at",
        "id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index("requests_by_image", "image_id", "state"),
    Index("requests_by_batch", "batch", "finished_at", "customer"),
    Index(
        "requests_ended_otherwise",
        "batch",
        "customer",
        sqlite_where=ENDED_OTHERWISE,
        postgresql_where=ENDED_OTHERWISE,
    ),
    Index("requests_by_chunk", "chunk_id"),
    Index(
        "requests_unreported",
        "id",
        sqlite_where=text("is_reported = 0"),  # as either database gets it in queries
        postgresql_where=text("NOT is_reported"),
    ),
    Index(
        "requests_by_backfill",
        "backfill",
        "state",
        "finished_at",
        "id",
        sqlite_where=IN_BACKFILL,
        postgresql_where=IN_BACKFILL,
    ),
    Index("requests_replaced", "superseded_by", sqlite_where=REPLACED, postgresql_where=REPLACED),
    ForeignKeyConstraint(["batch", "customer"], ["batches.id", "batches.customer"], name="requests_of_batch"),
    ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name="requests_of_chunk"),
    ForeignKeyConstraint(["superseded_by"], ["requests.id"], name="requests_superseded_by"),
    _one_of("requests", "state", RequestState),
    _one_of("requests", "lane", Lane),
    _one_of("requests", "error_stage", Stage),
    CheckConstraint(f"(finished_at IS NOT NULL) = (state IN ({_listed(ENDED)}))", name="requests_finished"),
    CheckConstraint(f"chunk_id IS NULL OR state IN ({_listed(TAKEN)})", name="requests_in_chunk"),
    CheckConstraint("superseded_by IS NULL OR state = 'superseded'", name="requests_replaced"),
    CheckConstraint(f"error_code IS NULL OR state NOT IN ({_listed(SUCCESSFUL)})", name="requests_error"),
)


def unfinished(*states: RequestState) -> ColumnElement[bool]:
    """Match requests in any of these states, which have not ended, in a form for which planners find `requests_due`."""
    return and_(requests.c.state.in_(states), requests.c.finished_at.is_(None))


image_counts = Table(
    "image_counts",
    metadata,
    Column("customer", Integer, nullable=False),
    Column("space", Integer, nullable=False),
    Column("state", String(20), nullable=False, comment="of the images' current requests"),
    Column("session", Integer, nullable=False, comment="of PostgreSQL that counted; 0: added up, or SQLite"),
    Column(
        "images", BigInteger, nullable=False, comment="all rows of a customer, space and state add up to the number"
    ),
    PrimaryKeyConstraint("customer", "space", "state", "session"),
)
triggers.make_with(metadata)

attempts = Table(
    "attempts",
    metadata,
    Column("request_id", String(32), nullable=False),
    Column("number", Integer, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    Column("result", String(20), nullable=False),
    Column("error_code", String(100)),
    Column("error_stage", String(20)),
    Column("error_cause", SanitizedText),
    PrimaryKeyConstraint("request_id", "number"),
    ForeignKeyConstraint(["request_id"], ["requests.id"], name="attempts_of_request", ondelete="CASCADE"),
    _one_of("attempts", "result", [state for state in RequestState if state in _ENDS]),
    _one_of("attempts", "error_stage", Stage),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("lane", String(20), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("state", String(20), nullable=False, comment="accepted, waiting, rejected, forwarded, ignored or requeued"),
    Column("image_id", String(300)),
    Column("customer", Integer),
    Column("batch", Integer),
    Column("request_id", String(32)),
    Column("body", EncryptedText, comment="kept while the message waits or is rejected"),
    Column(
        "attributes", EncryptedJson(none_as_null=True), comment="what its sender said of it, kept as long as the body"
    ),
    Column("code", String(100)),
    Column("cause", SanitizedText),
    Column("remedy", SanitizedText),
    Index("messages_by_state", "state", "received_at"),
    Index("messages_refused", "batch", "customer", sqlite_where=REFUSED, postgresql_where=REFUSED),
    Index("messages_of_priority", "request_id", sqlite_where=OF_PRIORITY, postgresql_where=OF_PRIORITY),
    _one_of("messages", "state", MessageState),
    _one_of("messages", "lane", Lane),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("lane", String(20), nullable=False),
    Column("customer", Integer, nullable=False),
    Column("space", Integer, nullable=False),
    Column("stages", String(60), nullable=False),
    Column("first_key", Text, nullable=False),
    Column("last_key", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("run_id", String(64)),
    Column("closed_at", UtcDateTime),
    Index("chunks_open", "closed_at", "lane"),
    Index("chunks_by_customer", "lane", "customer", "id"),
    _one_of("chunks", "lane", Lane),
)

chunk_images = Table(
    "chunk_images",
    metadata,
    Column("chunk_id", String(32), nullable=False),
    Column("position", Integer, nullable=False),
    Column("image_id", String(220), nullable=False),
    Column("request_id", String(32), nullable=False),
    PrimaryKeyConstraint("chunk_id", "position"),
    ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name="chunk_images_of_chunk", ondelete="CASCADE"),
)

claims = Table(
    "claims",
    metadata,
    Column("image_id", String(220), primary_key=True),
    Column("request_id", String(32), nullable=False),
    Column("token", String(32), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("begun_at", UtcDateTime, comment="when work on the image began; until then it is only held"),
    Column("customer", Integer, nullable=False),
    Column("reserved_bytes", BigInteger, nullable=False, default=0, comment="of the customer's quota, until the end"),
    Index("claims_by_token", "token"),
    Index("claims_by_run", "run_id"),
    Index("claims_by_customer", "customer", "reserved_bytes"),
    Index("claims_by_request", "request_id", unique=True),
    ForeignKeyConstraint(["request_id"], ["requests.id"], name="claims_of_request"),
    CheckConstraint("reserved_bytes >= 0", name="claims_reserved_bytes"),
)

HAS_OBJECTS = text("bytes IS NOT NULL")
outcomes = Table(
    "outcomes",
    metadata,
    Column("image_id", String(220), nullable=False),
    Column("stage", String(20), nullable=False),
    Column("customer", Integer, nullable=False),
    Column("space", Integer, nullable=False),
    Column("request_id", String(32), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("details", PackedDetails, nullable=False, comment="data version, facts, recipe and stored objects, packed"),
    Column("bytes", BigInteger, comment="of its objects but s.json, as totals count them; none: it has no objects"),
    Column("committed_at", UtcDateTime, nullable=False),
    Column("reported", Boolean, nullable=False, comment="whether Dagster has it"),
    Column("audited_at", UtcDateTime, comment="of its objects, which the longest ago; none: one of them never was"),
    Column("damaged", Boolean, nullable=False, server_default=false(), comment="the audit found one of its objects so"),
    PrimaryKeyConstraint("image_id", "stage"),
    Index(
        "outcomes_unreported",
        "committed_at",
        sqlite_where=text("reported IS 0"),  # as either database gets it in queries
        postgresql_where=text("reported IS false"),
    ),
    Index("outcomes_by_audit", "audited_at", sqlite_where=HAS_OBJECTS, postgresql_where=HAS_OBJECTS),
    Index(
        "outcomes_damaged",
        "image_id",
        sqlite_where=text("damaged = 1"),  # hardly any: the index costs nothing
        postgresql_where=text("damaged"),
    ),
    Index(
        "outcomes_by_customer",
        "customer",
        "stage",
        "space",
        "bytes",
        sqlite_where=HAS_OBJECTS,
        postgresql_where=HAS_OBJECTS,
    ),
    _one_of("outcomes", "stage", Stage),
    _one_of("outcomes", "outcome", Outcome),
    CheckConstraint("bytes >= 0", name="outcomes_bytes"),
)

transient_objects = Table(
    "transient_objects",
    metadata,
    Column("bucket", String(100), nullable=False),
    Column("key", String(500), nullable=False),
    Column("image_id", String(220), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content_type", SanitizedText, nullable=False),
    PrimaryKeyConstraint("bucket", "key"),
    Index("transient_objects_by_image", "image_id"),
    CheckConstraint("bytes >= 0", name="transient_objects_bytes"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, nullable=False),
    Column("customer", Integer, nullable=False),
    Column(
        "count", Integer, comment="as declared by whoever submitted it; unknown: the batch never counts as finished"
    ),
    Column("submitted_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime, comment="nobody will submit more to it: what is there is its count"),
    Column("finished_at", UtcDateTime),
    Column("images", Integer, nullable=False, server_default="0", comment="that requests in it are for, each once"),
    PrimaryKeyConstraint("id", "customer"),
    Index("batches_unfinished", "finished_at"),
)

backfills = Table(
    "backfills",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("words", JSON, nullable=False, comment="of the selection, as at the command line"),
    Column("asked_by", SanitizedText, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("requested_at", UtcDateTime, comment="when all of its images had been requested"),
    Column("cancelled_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("images", Integer, nullable=False, server_default="0", comment="that requests in it are for, each once"),
    PrimaryKeyConstraint("id"),
    Index("backfills_unended", "ended_at"),
)

backfill_counts = Table(
    "backfill_counts",
    metadata,
    Column("backfill", Integer, nullable=False),
    Column("state", String(20), nullable=False, comment="in which requests ended"),
    Column("session", Integer, nullable=False, comment="of PostgreSQL that counted; 0: added up, or SQLite"),
    Column("images", BigInteger, nullable=False, comment="all rows of a backfill and state add up to the number"),
    PrimaryKeyConstraint("backfill", "state", "session"),
    ForeignKeyConstraint(["backfill"], ["backfills.id"], name="backfill_counts_of_backfill"),
    _one_of("backfill_counts", "state", RequestState),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("topic", String(50), nullable=False),
    Column("body", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("published_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_at", UtcDateTime, nullable=False),
    Column("error", SanitizedText, comment="why the last attempt to publish it failed"),
    Index("notifications_unpublished", "published_at", "due_at"),
)

write_backs = Table(
    "write_backs",
    metadata,
    Column("id", String(32), primary_key=True, comment="of the request; of a rejected message one of its own"),
    Column("image_id", String(220), nullable=False),
    Column("batch", Integer, comment="of a rejected message"),
    Column("lane", String(20), nullable=False, comment="of a rejected message"),
    Column("failure_code", String(100), comment="why the image is not done; none: it is"),
    Column("failure_stage", String(20)),
    Column("failure_cause", SanitizedText),
    Column("failure_remedy", SanitizedText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", SanitizedText, comment="why the last try to write it failed"),
    Index("write_backs_due", "due_at"),
    _one_of("write_backs", "lane", Lane),
    _one_of("write_backs", "failure_stage", Stage),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

owner = Table(
    "owner",
    metadata,
    Column("position", Integer, nullable=False, autoincrement=False, comment="1: there is one owner"),
    Column("instance_id", String(64), nullable=False, comment="as the storage of the Dagster instance has it"),
    Column("name", SanitizedText, nullable=False, comment="where a process of it runs, for people"),
    Column("since", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("position"),
    CheckConstraint("position = 1", name="owner_position"),
)

workers = Table(
    "workers",
    metadata,
    Column("run_id", String(64), nullable=False),
    Column("token", String(32), nullable=False, comment="of the one process that works on the run"),
    Column("process", String(200), nullable=False, comment="machine, number and start of that process"),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, comment="when the process was through with it"),
    PrimaryKeyConstraint("run_id"),
    Index("workers_by_heartbeat", "heartbeat_at"),
)

launches = Table(
    "launches",
    metadata,
    Column("position", Integer, nullable=False, autoincrement=False, comment="1: there is one row, or none"),
    Column("run_id", String(64), nullable=False, comment="of the last run that could not be started"),
    Column("reason", SanitizedText, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False, comment="runs that failed before they began, in a row"),
    Column("paused_until", UtcDateTime, comment="when a run is launched again, after one failed"),
    PrimaryKeyConstraint("position"),
    CheckConstraint("position = 1", name="launches_position"),
)
