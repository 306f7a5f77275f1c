"""A message that is kept is kept with its attributes, so that it can be sent again as it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column; of messages that are kept already nothing is known."""
    op.add_column(
        "messages", sa.Column("attributes", sa.JSON(), comment="what its sender said of it, kept as long as the body")
    )
