"""Messages have no index by request: those that wait are found by their state, and no others are looked up so."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Drop the index, which was a fiftieth of the ledger."""
    op.drop_index("messages_by_request", "messages")
