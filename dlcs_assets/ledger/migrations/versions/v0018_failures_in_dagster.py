"""A request says whether Dagster has why it failed; of what failed before it is not to be reported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column, and an index of those that are to be reported."""
    comment = "whether Dagster has why it failed; true of what did not fail"
    reported = sa.Column("is_reported", sa.Boolean, nullable=False, server_default=sa.true(), comment=comment)
    op.add_column("requests", reported)
    op.create_index(
        "requests_unreported",
        "requests",
        ["id"],
        sqlite_where=sa.text("is_reported = 0"),
        postgresql_where=sa.text("NOT is_reported"),
    )
