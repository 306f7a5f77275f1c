"""Images that failed are found by the reason, in their order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "requests_current_by_reason",
        "requests",
        ["state", "error_code", "customer", "space", "image_id"],
        sqlite_where=sa.text("is_current = 1 AND error_code IS NOT NULL"),
        postgresql_where=sa.text("is_current AND error_code IS NOT NULL"),
    )
