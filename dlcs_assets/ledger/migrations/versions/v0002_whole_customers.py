"""Uploads, deletions, quotas, batches that end, notifications, and what each result was made under."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# The forms of an address in S3, as they were read when this version was made: what an older ledger becomes must not
# change with the code of today.
_REGION = (
    r"(?:[a-z]{2}|eusc)(?:-gov|-iso[a-z]?|-de)?-(?:north|south|east|west|central|(?:north|south)(?:east|west))-[0-9]"
)
_BUCKET = r"(?P<bucket>[^/?#]+)"
_HOST_BUCKET = r"(?P<bucket>[^/?#]+?)"
_ANY_REGION = r"[a-z0-9-]+"
_S3_FORMS = (
    re.compile(rf"s3://{_REGION}/(?P<bucket>[^/]+)/(?P<key>.*)", re.IGNORECASE | re.DOTALL),
    re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.*)", re.IGNORECASE | re.DOTALL),
)
_WEB_FORMS = (
    re.compile(rf"https?://s3[-.]{_ANY_REGION}\.amazonaws\.com/{_BUCKET}/(?P<key>[^?#]*)", re.IGNORECASE),
    re.compile(rf"https?://{_HOST_BUCKET}\.s3\.amazonaws\.com/(?P<key>[^?#]*)", re.IGNORECASE),
    re.compile(rf"https?://{_HOST_BUCKET}\.s3\.{_ANY_REGION}\.amazonaws\.com/(?P<key>[^?#]*)", re.IGNORECASE),
    re.compile(rf"https?://s3\.amazonaws\.com/{_BUCKET}/(?P<key>[^?#]*)", re.IGNORECASE),
)


def upgrade() -> None:
    """Create the new tables, widen the others, and fill the new columns from what is there."""
    _create_tables()
    with op.batch_alter_table("images") as images:
        images.add_column(
            sa.Column(
                "origin_bucket",
                sa.String(length=100),
                comment="of an origin in S3, so that no clean-up deletes somebody's origin",
            )
        )
        images.add_column(sa.Column("origin_key", sa.Text()))
        images.create_index("images_by_origin", ["origin_bucket", "origin_key"])
    with op.batch_alter_table("messages") as messages:
        messages.add_column(sa.Column("customer", sa.Integer()))
        messages.add_column(sa.Column("batch", sa.Integer()))
        messages.create_index("messages_by_batch", ["batch", "customer"])
    with op.batch_alter_table("outcomes") as outcomes:
        outcomes.add_column(
            sa.Column(
                "recipe",
                sa.JSON(),
                comment="what decided about the result: policy, profile, code version; unknown before 0002",
            )
        )
    with op.batch_alter_table("batches") as batches:
        batches.add_column(
            sa.Column("closed_at", sa.DateTime(), comment="nobody will submit more to it: what is there is its count")
        )
        batches.add_column(sa.Column("finished_at", sa.DateTime()))
        batches.create_index("batches_unfinished", ["finished_at"])
    _add_owner("claims", ["customer"])
    with op.batch_alter_table("claims") as claims:
        claims.add_column(
            sa.Column(
                "reserved_bytes",
                sa.BigInteger(),
                nullable=False,
                server_default="0",
                comment="of the customer's quota, until the end",
            )
        )
    with op.batch_alter_table("claims") as claims:
        claims.alter_column("reserved_bytes", server_default=None)
        claims.create_index("claims_by_customer", ["customer", "reserved_bytes"])
    _add_owner("objects", ["customer", "space"])
    op.create_index("objects_by_kind", "objects", ["customer", "kind", "space", "bytes"])
    _index_by_customer()
    _fill_origins()


def _index_by_customer() -> None:
    op.drop_index("requests_due", "requests")
    op.create_index("requests_due", "requests", ["state", "lane", "customer", "due_at", "id"])
    op.create_index("chunks_by_customer", "chunks", ["lane", "customer", "id"])


def _create_tables() -> None:
    op.create_table(
        "tombstones",
        sa.Column("image_id", sa.String(length=220), nullable=False),
        sa.Column("customer", sa.Integer(), nullable=False),
        sa.Column("space", sa.Integer(), nullable=False),
        sa.Column(
            "asserted_at",
            sa.DateTime(),
            nullable=False,
            comment="when the deletion was said; what was said later holds",
        ),
        sa.Column("deleted_at", sa.DateTime(), comment="when everything of the image had been deleted"),
        sa.Column("request_id", sa.String(length=32), nullable=False, comment="of the deletion"),
        sa.Column(
            "detail", sa.JSON(), nullable=False, comment="the customer's name, from where else to delete, the channels"
        ),
        sa.PrimaryKeyConstraint("image_id"),
    )
    op.create_table(
        "uploads",
        sa.Column("bucket", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("image_id", sa.String(length=220)),
        sa.Column("sequencer", sa.String(length=100), comment="orders the events of one key"),
        sa.Column("etag", sa.String(length=100)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("only_listed", sa.Boolean(), nullable=False, comment="found by a listing; its event may still come"),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "key"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("topic", sa.String(length=50), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("published_at", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("error", sa.Text(), comment="why the last attempt to publish it failed"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("notifications_unpublished", "notifications", ["published_at", "due_at"])


def _add_owner(table: str, columns: list[str]) -> None:
    """Add columns of the image's owner to a table of images, filled from the images."""
    with op.batch_alter_table(table) as altered:
        for column in columns:
            altered.add_column(sa.Column(column, sa.Integer()))
    for column in columns:
        op.execute(
            f"UPDATE {table} SET {column} = "  # noqa: S608 (names of our own)
            f"COALESCE((SELECT images.{column} FROM images WHERE images.id = {table}.image_id), 0)"
        )
    with op.batch_alter_table(table) as altered:
        for column in columns:
            altered.alter_column(column, existing_type=sa.Integer(), nullable=False)


def _fill_origins() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.text("SELECT id, registration FROM images")).all():
        registration = row.registration if isinstance(row.registration, dict) else json.loads(row.registration)
        location = _s3_location(registration.get("origin", ""))
        if location is not None:
            connection.execute(
                sa.text("UPDATE images SET origin_bucket = :bucket, origin_key = :key WHERE id = :id"),
                {"bucket": location[0], "key": location[1], "id": row.id},
            )


def _s3_location(origin: str) -> tuple[str, str] | None:
    for form in _S3_FORMS:
        if found := form.fullmatch(origin):
            return found["bucket"], found["key"]
    for form in _WEB_FORMS:
        if found := form.fullmatch(origin):
            return found["bucket"], unquote(found["key"])
    return None
