"""When each object was last read again and compared, and what was wrong with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; all objects are yet to be read again."""
    with op.batch_alter_table("objects") as objects:
        objects.add_column(sa.Column("audited_at", sa.DateTime(), comment="when it was last read again and compared"))
        objects.add_column(
            sa.Column("damage", sa.String(length=200), comment="what was found then, if it was not what was stored")
        )
        objects.create_index("objects_by_audit", ["audited_at"])
    damaged = sa.text("damage IS NOT NULL")
    op.create_index("objects_damaged", "objects", ["damage"], sqlite_where=damaged, postgresql_where=damaged)
