"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "images",
        sa.Column("id", sa.String(length=220), nullable=False),
        sa.Column("customer", sa.Integer(), nullable=False),
        sa.Column("space", sa.Integer(), nullable=False),
        sa.Column("registration", sa.JSON(), nullable=False),
        sa.Column("asserted_at", sa.DateTime(), comment="`created` of the message that the registration is from"),
        sa.Column("registered_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("images_by_space", "images", ["customer", "space"])
    op.create_table(
        "requests",
        sa.Column("id", sa.String(length=32), nullable=False, comment="sorts by time of creation"),
        sa.Column("image_id", sa.String(length=220), nullable=False),
        sa.Column("customer", sa.Integer(), nullable=False),
        sa.Column("space", sa.Integer(), nullable=False),
        sa.Column("lane", sa.String(length=20), nullable=False),
        sa.Column("stages", sa.String(length=60), nullable=False),
        sa.Column("batch", sa.Integer()),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("chunk_id", sa.String(length=32)),
        sa.Column("superseded_by", sa.String(length=32)),
        sa.Column("error_code", sa.String(length=100)),
        sa.Column("error_stage", sa.String(length=20)),
        sa.Column("error_cause", sa.Text()),
        sa.Column("error_remedy", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("requests_by_batch", "requests", ["batch", "customer"])
    op.create_index("requests_by_chunk", "requests", ["chunk_id"])
    op.create_index("requests_by_image", "requests", ["image_id", "state"])
    op.create_index("requests_due", "requests", ["state", "lane", "due_at"])
    op.create_table(
        "attempts",
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=False),
        sa.Column("result", sa.String(length=20), nullable=False),
        sa.Column("error_code", sa.String(length=100)),
        sa.Column("error_stage", sa.String(length=20)),
        sa.Column("error_cause", sa.Text()),
        sa.PrimaryKeyConstraint("request_id", "number"),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("lane", sa.String(length=20), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column(
            "state",
            sa.String(length=20),
            nullable=False,
            comment="accepted, waiting, rejected, forwarded, ignored or requeued",
        ),
        sa.Column("image_id", sa.String(length=300)),
        sa.Column("request_id", sa.String(length=32)),
        sa.Column("body", sa.Text(), comment="kept while the message waits or is rejected"),
        sa.Column("code", sa.String(length=100)),
        sa.Column("cause", sa.Text()),
        sa.Column("remedy", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("messages_by_request", "messages", ["request_id"])
    op.create_index("messages_by_state", "messages", ["state", "received_at"])
    op.create_table(
        "chunks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("lane", sa.String(length=20), nullable=False),
        sa.Column("customer", sa.Integer(), nullable=False),
        sa.Column("space", sa.Integer(), nullable=False),
        sa.Column("stages", sa.String(length=60), nullable=False),
        sa.Column("first_key", sa.Text(), nullable=False),
        sa.Column("last_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("run_id", sa.String(length=64)),
        sa.Column("closed_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("chunks_open", "chunks", ["closed_at", "lane"])
    op.create_table(
        "chunk_images",
        sa.Column("chunk_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.String(length=220), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chunk_id", "position"),
    )
    op.create_table(
        "claims",
        sa.Column("image_id", sa.String(length=220), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("image_id"),
    )
    op.create_index("claims_by_run", "claims", ["run_id"])
    op.create_index("claims_by_token", "claims", ["token"])
    op.create_table(
        "outcomes",
        sa.Column("image_id", sa.String(length=220), nullable=False),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("data_version", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("committed_at", sa.DateTime(), nullable=False),
        sa.Column("reported", sa.Boolean(), nullable=False, comment="whether Dagster has it"),
        sa.PrimaryKeyConstraint("image_id", "stage"),
    )
    op.create_index("outcomes_unreported", "outcomes", ["reported"])
    op.create_table(
        "objects",
        sa.Column("bucket", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("image_id", sa.String(length=220), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "key"),
    )
    op.create_index("objects_by_image", "objects", ["image_id"])
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer", sa.Integer(), nullable=False),
        sa.Column(
            "count",
            sa.Integer(),
            comment="as declared by whoever submitted it; unknown: the batch never counts as finished",
        ),
        sa.Column("submitted_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", "customer"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
