"""Ends of images that a DLCS's database is to have are kept until it has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_LANES = "lane IN ('ingest', 'priority', 'retry', 'backfill', 'manual', 'delete')"
_STAGES = "failure_stage IN ('original', 'jp2', 'thumbnails')"


def upgrade() -> None:
    """Make the table. What has ended until now stays as it is."""
    op.create_table(
        "write_backs",
        sa.Column(
            "id", sa.String(32), primary_key=True, comment="of the request; of a rejected message one of its own"
        ),
        sa.Column("image_id", sa.String(220), nullable=False),
        sa.Column("batch", sa.Integer, comment="of a rejected message"),
        sa.Column("lane", sa.String(20), nullable=False, comment="of a rejected message"),
        sa.Column("failure_code", sa.String(100), comment="why the image is not done; none: it is"),
        sa.Column("failure_stage", sa.String(20)),
        sa.Column("failure_cause", sa.Text),
        sa.Column("failure_remedy", sa.Text),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, comment="why the last try to write it failed"),
        sa.CheckConstraint(_LANES, name="write_backs_lane"),
        sa.CheckConstraint(_STAGES, name="write_backs_failure_stage"),
    )
    op.create_index("write_backs_due", "write_backs", ["due_at"])
    priority = sa.text("lane = 'priority'")
    op.create_index(
        "messages_of_priority", "messages", ["request_id"], sqlite_where=priority, postgresql_where=priority
    )
