"""A ledger knows whether runs can be started, so that dispatch can pause while they cannot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table, which is empty while all is well."""
    op.create_table(
        "launches",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False, comment="1: there is one row, or none"),
        sa.Column("run_id", sa.String(64), nullable=False, comment="of the last run that could not be started"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False, comment="runs that failed before they began, in a row"),
        sa.Column("paused_until", sa.DateTime, comment="when a run is launched again, after one failed"),
        sa.PrimaryKeyConstraint("position"),
        sa.CheckConstraint("position = 1", name="launches_position"),
    )
