"""A ledger knows the Dagster instance that it works for, and each run the process that works on it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables. The first Dagster instance that opens the ledger becomes its owner."""
    op.create_table(
        "owner",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False, comment="1: there is one owner"),
        sa.Column(
            "instance_id", sa.String(64), nullable=False, comment="as the storage of the Dagster instance has it"
        ),
        sa.Column("name", sa.Text, nullable=False, comment="where a process of it runs, for people"),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.CheckConstraint("position = 1", name="owner_position"),
    )
    op.create_table(
        "workers",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("token", sa.String(32), nullable=False, comment="of the one process that works on the run"),
        sa.Column("process", sa.String(200), nullable=False, comment="machine, number and start of that process"),
        sa.Column("heartbeat_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime, comment="when the process was through with it"),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("workers_by_heartbeat", "workers", ["heartbeat_at"])
