"""Transient objects that runs left are found every few seconds, among all objects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index."""
    transient = sa.text("kind = 'transient'")
    op.create_index("objects_transient", "objects", ["image_id"], sqlite_where=transient, postgresql_where=transient)
