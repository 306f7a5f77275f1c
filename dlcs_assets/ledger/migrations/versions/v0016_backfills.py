"""Backfills, and of which one a request is; what was requested before is of none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_STATES = (
    "state IN ('waiting', 'pending', 'reserved', 'running', 'done', 'not_renewed', 'failed', 'rejected', 'deleted', "
    "'superseded', 'cancelled')"
)


def upgrade() -> None:
    """Make the tables, and a column with an index of the requests that are of a backfill."""
    op.create_table(
        "backfills",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("words", sa.JSON, nullable=False, comment="of the selection, as at the command line"),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("begun_at", sa.DateTime, nullable=False),
        sa.Column("requested_at", sa.DateTime, comment="when all of its images had been requested"),
        sa.Column("cancelled_at", sa.DateTime),
        sa.Column("ended_at", sa.DateTime),
        sa.Column(
            "images", sa.Integer, nullable=False, server_default="0", comment="that requests in it are for, each once"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("backfills_unended", "backfills", ["ended_at"])
    op.create_table(
        "backfill_counts",
        sa.Column("backfill", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False, comment="in which requests ended"),
        sa.Column("session", sa.Integer, nullable=False, comment="of PostgreSQL that counted; 0: added up, or SQLite"),
        sa.Column(
            "images", sa.BigInteger, nullable=False, comment="all rows of a backfill and state add up to the number"
        ),
        sa.PrimaryKeyConstraint("backfill", "state", "session"),
        sa.ForeignKeyConstraint(["backfill"], ["backfills.id"], name="backfill_counts_of_backfill"),
        sa.CheckConstraint(_STATES, name="backfill_counts_state"),
    )
    op.add_column("requests", sa.Column("backfill", sa.Integer, comment="an id; of requests that are in one"))
    in_one = sa.text("backfill IS NOT NULL")
    op.create_index(
        "requests_by_backfill",
        "requests",
        ["backfill", "state", "finished_at", "id"],
        sqlite_where=in_one,
        postgresql_where=in_one,
    )
